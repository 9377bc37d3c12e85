"""Batches are the same for any number of workers, resumable at any batch, aligned over ranks, and survive bad clips."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from multiprocessing import active_children

import pytest
import torch
from clips import moving_frames, write_clip

from workbench.data.clips import read_clip
from workbench.data.indexing import build_index
from workbench.data.loader import ClipLoader
from workbench.data.settings import DataConfig
from workbench.errors import ConfigError, DataError
from workbench.media.image import write_image
from workbench.media.reader import read_video
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.video import to_float

BUCKETS = {"32px": {8: (0.7, 2), 1: (1.0, 2)}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven clips of two aspect ratios and two lengths, and an image, with their index."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(11):
        size = (32, 48) if number % 3 else (48, 32)
        write_clip(root / f"{number:02}.mp4", 12 + 8 * (number % 2), *size, seed=number)
    write_image(moving_frames(1, 40, 40)[0], root / "photo.png")
    build_index(root, root / "data.csv", progress=False)
    return root


@pytest.fixture
def loader_of(folder):
    """Make loaders that are closed at the end of the test."""
    loaders = []

    def make(rank=0, world_size=1, buckets=BUCKETS, seed=5, root=folder, images=0.0, **settings):
        config = DataConfig(data_path=str(root / "data.csv"), **{"num_workers": 0, "fps_max": 25.0, **settings})
        ranks = {"rank": rank, "world_size": world_size}
        loaders.append(ClipLoader(config, buckets, spatial_multiple=16, seed=seed, image_probability=images, **ranks))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the folder in which two clips became unreadable after they were indexed."""
    root = tmp_path / "damaged"
    shutil.copytree(folder, root)
    (root / "01.mp4").write_bytes(b"")
    (root / "02.mp4").write_text("not a video")
    return root


def take(loader, count):
    return [next(loader) for _ in range(count)]


def assert_same(batches, others):
    assert [batch.paths for batch in batches] == [batch.paths for batch in others]
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(batches, others, strict=True))


def names(batches):
    return {os.path.basename(path) for batch in batches for path in batch.paths}


def test_a_batch_holds_the_frames_of_its_files_resized_and_centre_cropped(loader_of):
    for batch in take(loader_of(), 6):
        assert batch.pixels.dtype == torch.float32
        assert batch.pixels.shape[:2] == (2, 3)
        assert batch.pixels.is_contiguous()
        for pixels, path in zip(batch.pixels, batch.paths, strict=True):
            frames = read_video(path).frames
            source = to_float(apply_resize(frames, plan_resize("32px", *frames.shape[2:], 16)).transpose(0, 1))
            length = pixels.shape[1]
            starts = range(source.shape[1] - length + 1)
            assert sum(torch.equal(source[:, start : start + length], pixels) for start in starts) >= 1


def test_frames_are_taken_at_the_interval_that_fps_max_asks_for(loader_of):
    batch = next(loader_of(buckets={"32px": {5: (1.0, 2)}}, fps_max=10.0))  # 25 fps: every third frame
    for pixels, path in zip(batch.pixels, batch.paths, strict=True):
        frames = read_video(path).frames
        source = to_float(apply_resize(frames, plan_resize("32px", *frames.shape[2:], 16)).transpose(0, 1))
        starts = range(source.shape[1] - 12)
        assert any(torch.equal(source[:, start : start + 13 : 3], pixels) for start in starts)


def test_an_epoch_has_the_stated_steps_and_every_clip(loader_of):
    loader = loader_of()
    steps = loader.steps_per_epoch
    batches = take(loader, steps)
    assert len(names(batches)) == 12
    assert (loader.epoch, loader.position) == (1, 0)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(loader_of, num_workers):
    alone = loader_of()
    count = alone.steps_per_epoch + 3
    assert_same(take(alone, count), take(loader_of(num_workers=num_workers), count))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_ranks_resume_bit_equal_in_the_middle_and_across_epochs(loader_of, num_workers):
    for rank in range(2):
        unbroken = loader_of(rank, 2, random_crop=True)
        total = 2 * unbroken.steps_per_epoch + 2
        batches = take(unbroken, total)
        for stop in (1, 3, total - 4):
            first = loader_of(rank, 2, random_crop=True, num_workers=num_workers)
            take(first, stop)
            state = first.state_dict()
            first.close()
            resumed = loader_of(rank, 2, random_crop=True, num_workers=num_workers)
            assert resumed.load_state_dict(state) == []
            assert_same(batches[stop : stop + 4], take(resumed, 4))


def test_the_state_counts_batches_handed_out_and_not_those_prefetched(loader_of):
    alone, ahead = loader_of(), loader_of(num_workers=2)
    take(alone, 3), take(ahead, 3)
    assert ahead.state_dict() == alone.state_dict()
    assert ahead.state_dict()["position"] == 3


def test_loading_a_state_into_a_running_loader_moves_it(loader_of):
    loader = loader_of(num_workers=1)
    state = loader.state_dict()
    batches = take(loader, 3)
    loader.load_state_dict(state)
    assert_same(batches, take(loader, 3))


def test_ranks_have_the_same_shapes_and_steps_and_different_clips(loader_of):
    ranks = [loader_of(rank, 2, buckets={"32px": {8: (1.0, 2)}}) for rank in range(2)]
    assert ranks[0].steps_per_epoch == ranks[1].steps_per_epoch
    assert ranks[0].state_dict() == ranks[1].state_dict()
    rounds = [take(loader, loader.steps_per_epoch) for loader in ranks]
    for one, other in zip(*rounds, strict=True):
        assert one.pixels.shape == other.pixels.shape
    assert len(names(rounds[0] + rounds[1])) == 11


def test_another_number_of_ranks_continues_after_the_same_clips_and_says_so(loader_of, caplog):
    buckets = {"32px": {8: (1.0, 1)}}
    before = [loader_of(rank, 2, buckets) for rank in range(2)]
    seen = names([batch for loader in before for batch in take(loader, 3)])
    alone = loader_of(0, 1, buckets)
    differences = alone.load_state_dict(before[0].state_dict())
    assert len(differences) == 1
    assert "2 ranks became 1" in differences[0]
    assert "after 6 clips" in caplog.text
    rest = take(alone, alone.steps_per_epoch - 6)
    assert alone.epoch == 1
    assert len(seen | names(rest)) >= 10  # of 11: two buckets, each may be out by a clip


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 6}, "the seed 5 became 6"), ({"fps_max": 12.0}, "another setting of the data changed")],
)
def test_changed_settings_are_told_on_resume(loader_of, change, message):
    before = loader_of()
    take(before, 2)
    after = loader_of(**change)
    assert message in after.load_state_dict(before.state_dict())[0]
    next(after)


def test_a_moved_data_set_resumes_exactly(loader_of, folder, tmp_path):
    before = loader_of()
    take(before, 2)
    shutil.copytree(folder, tmp_path / "moved")
    moved = loader_of(root=tmp_path / "moved")
    assert moved.load_state_dict(before.state_dict()) == []
    assert torch.equal(next(moved).pixels, next(before).pixels)


def test_epochs_and_seeds_differ(loader_of):
    loader, other = loader_of(buckets={"32px": {8: (1.0, 1)}}), loader_of(buckets={"32px": {8: (1.0, 1)}}, seed=6)
    first, second, reseeded = (take(source, 11) for source in (loader, loader, other))
    orders = [[batch.paths for batch in batches] for batches in (first, second, reseeded)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_random_crops_move_and_stay_reproducible(loader_of):
    buckets = {"32px_ar1:1": {8: (1.0, 1)}}
    crops, again = (take(loader_of(buckets=buckets, random_crop=True), 11) for _ in range(2))
    assert_same(crops, again)
    centres = take(loader_of(buckets=buckets), 11)
    assert [batch.paths for batch in crops] == [batch.paths for batch in centres]
    assert sum(not torch.equal(a.pixels, b.pixels) for a, b in zip(crops, centres, strict=True)) >= 8


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_clips_are_replaced_counted_and_logged_and_ranks_stay_aligned(loader_of, damaged, caplog, num_workers):
    ranks = [loader_of(rank, 2, root=damaged, num_workers=num_workers) for rank in range(2)]
    rounds = [take(loader, 2 * loader.steps_per_epoch) for loader in ranks]
    assert [batch.pixels.shape for batch in rounds[0]] == [batch.pixels.shape for batch in rounds[1]]
    assert [loader.epoch for loader in ranks] == [2, 2]
    skipped = ranks[0].skipped | ranks[1].skipped
    assert {os.path.basename(path): "empty" in reason for path, reason in skipped.items()} == {
        "01.mp4": True,
        "02.mp4": False,
    }
    assert sum(loader.num_replaced for loader in ranks) >= 4
    assert not names(rounds[0] + rounds[1]) & {"01.mp4", "02.mp4"}
    assert "01.mp4" in caplog.text


def test_one_batch_in_five_is_of_images_on_all_ranks_alike_and_decodes_one_frame_a_clip(loader_of, monkeypatch):
    decoded = []
    monkeypatch.setattr("workbench.data.loader.read_clip", lambda r: (decoded.append(r.num_frames), read_clip(r))[1])
    buckets = {"32px": {8: (1.0, 2)}}
    videos, *ranks = loader_of(0, 2, buckets), *(loader_of(rank, 2, buckets, images=0.2) for rank in range(2))
    whole, cut, other = (take(loader, 60) for loader in (videos, *ranks))
    assert [batch.pixels.shape for batch in cut] == [batch.pixels.shape for batch in other]
    lengths = [batch.pixels.shape[2] for batch in cut]
    assert 5 <= lengths.count(1) <= 20
    assert lengths.count(1) + lengths.count(8) == 60
    assert all(torch.equal(a.pixels[:, :, : b.pixels.shape[2]], b.pixels) for a, b in zip(whole, cut, strict=True))
    assert decoded.count(1) == 2 * 2 * lengths.count(1)


def test_images_come_at_the_same_batches_after_a_resume(loader_of):
    unbroken = loader_of(images=0.5)
    batches = take(unbroken, 12)
    resumed = loader_of(images=0.5, num_workers=2)
    first = loader_of(images=0.5)
    take(first, 5)
    assert resumed.load_state_dict(first.state_dict()) == []
    assert_same(batches[5:], take(resumed, 7))


def test_a_trial_of_memory_begins_with_the_largest_batch(loader_of):
    loader = loader_of(images=0.5)
    sizes = {batch.pixels.numel() for batch in take(loader, loader.steps_per_epoch)}
    loader = loader_of(images=0.5)
    loader.go_to_largest()
    assert next(loader).pixels.numel() == max(sizes)


def test_clips_that_fill_up_the_last_batch_are_not_counted_as_new(loader_of):
    ranks = [loader_of(rank, 2, {"32px": {8: (1.0, 2)}}) for rank in range(2)]
    batches = [batch for loader in ranks for batch in take(loader, loader.steps_per_epoch)]
    new = [path for batch in batches for path in batch.paths[: batch.num_new]]
    assert len(new) == len(set(new)) == 11
    assert len(batches) * 2 > 11


def test_bad_clips_do_not_break_resuming(loader_of, damaged):
    unbroken = loader_of(root=damaged)
    batches = take(unbroken, 2 * unbroken.steps_per_epoch)
    for stop in (2, len(batches) - 3):
        first = loader_of(root=damaged)
        take(first, stop)
        resumed = loader_of(root=damaged, num_workers=2)
        resumed.load_state_dict(first.state_dict())
        assert_same(batches[stop:], take(resumed, len(batches) - stop))


def test_a_clip_shorter_than_the_index_states_is_a_bad_clip(loader_of, damaged):
    text = (damaged / "data.csv").read_text().replace('"03.mp4",20', '"03.mp4",2000')
    (damaged / "data.csv").write_text(text)
    loader = loader_of(root=damaged)
    take(loader, loader.steps_per_epoch)
    assert any(path.endswith("03.mp4") for path in loader.skipped)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_run_stops_when_all_clips_are_bad(loader_of, damaged, num_workers):
    for path in damaged.glob("*.mp4"):
        path.write_bytes(b"")
    loader = loader_of(root=damaged, num_workers=num_workers, buckets={"32px": {8: (1.0, 2)}})
    with pytest.raises(DataError, match=r"all 11 clips that would fit could not be read.*empty"):
        next(loader)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_run_stops_at_too_many_bad_clips_in_a_row(loader_of, damaged, num_workers):
    for path in damaged.glob("*.mp4"):
        path.write_bytes(b"")
    loader = loader_of(root=damaged, num_workers=num_workers, buckets={"32px": {8: (1.0, 2)}}, max_bad_in_a_row=3)
    with pytest.raises(DataError, match=r"3 clips in a row could not be read"):
        next(loader)


def test_a_bucket_of_bad_clips_alone_takes_clips_of_other_buckets(loader_of, damaged):
    for number in (0, 3, 6, 9):  # all upright clips
        (damaged / f"{number:02}.mp4").write_bytes(b"")
    loader = loader_of(root=damaged, buckets={"32px": {8: (1.0, 2)}})
    shapes = {batch.pixels.shape[3:] for batch in take(loader, loader.steps_per_epoch)}
    assert any(height > width for height, width in shapes)


def test_a_hung_worker_is_replaced_and_its_clip_counts_as_bad(loader_of):
    loader = loader_of(num_workers=2, worker_timeout_s=5.0)
    shape = next(loader).pixels.shape
    for worker in active_children():  # of one alone the other could take over all that is left
        os.kill(worker.pid, signal.SIGSTOP)
    batches = take(loader, 12)
    assert any("`dataset.worker_timeout_s` 5" in reason for reason in loader.skipped.values())
    assert all(batch.pixels.shape[:2] == shape[:2] for batch in batches)


def test_a_time_limit_that_no_clip_keeps_is_an_error_and_no_hang(loader_of):
    with pytest.raises(DataError, match=r"could not be read.*longer than `dataset.worker_timeout_s` 0.001"):
        next(loader_of(num_workers=1, worker_timeout_s=0.001, max_bad_in_a_row=2))


def test_killed_workers_are_replaced_and_the_batches_stay_the_same(loader_of, caplog):
    expected = take(loader_of(), 14)
    loader = loader_of(num_workers=2)
    batches = take(loader, 2)
    for _ in range(3):
        for worker in active_children():
            os.kill(worker.pid, signal.SIGKILL)
        batches += take(loader, 4)
    assert_same(batches, expected)
    assert "exit code -9" in caplog.text
    assert not loader.skipped


def test_closing_ends_the_workers_and_the_next_batch_starts_them_again(loader_of):
    expected = take(loader_of(), 2)
    loader = loader_of(num_workers=2)
    first = next(loader)
    assert len(active_children()) == 2
    loader.close()
    assert not active_children()
    assert_same([first, next(loader)], expected)


def test_a_program_that_forgets_to_close_its_loader_ends(folder):
    program = f"""
        from workbench.data.loader import ClipLoader
        from workbench.data.settings import DataConfig
        config = DataConfig(data_path={str(folder / "data.csv")!r}, num_workers=2)
        next(ClipLoader(config, {BUCKETS!r}, spatial_multiple=16, seed=1))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], timeout=600, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_rank_says_where_relative_paths_are_and_what_is_left_out(loader_of, damaged, caplog):
    with (damaged / "data.csv").open("a") as file:
        file.write('"photo.png",0,0,0,,,\n')
    with caplog.at_level(logging.INFO):
        loader_of(1, 2, root=damaged)
        assert not caplog.text
        loader_of(0, 2, root=damaged)
    assert f"relative paths are taken from '{damaged}'" in caplog.text
    assert "1 of 12 files left out" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps_max": 0.0}, "`dataset.fps_max`"),
        ({"num_workers": -1}, "`dataset.num_workers`"),
        ({"worker_timeout_s": 0.0}, "`dataset.worker_timeout_s`"),
        ({"max_bad_in_a_row": 0}, "`dataset.max_bad_in_a_row`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(loader_of, settings, message):
    with pytest.raises(ConfigError, match=message):
        loader_of(**settings)


def test_a_loader_without_an_index_says_how_to_make_one():
    with pytest.raises(ConfigError, match=r"`dataset.data_path` is needed; make an index: python -m workbench index"):
        ClipLoader(DataConfig(), BUCKETS, spatial_multiple=16, seed=0)


def test_batches_of_clips_kept_in_memory_are_those_of_files(loader_of):
    """Three epochs: clips that are cut as they are, and resized ones."""
    for buckets in (BUCKETS, {"16px": {8: (1.0, 3)}}):
        decoded, kept = loader_of(buckets=buckets), loader_of(buckets=buckets, in_memory=True)
        for _ in range(3 * decoded.steps_per_epoch):
            expected, found = next(decoded), next(kept)
            assert torch.equal(found.pixels, expected.pixels)
            assert (found.paths, found.num_new) == (expected.paths, expected.num_new)


def test_a_bad_clip_kept_in_memory_is_replaced_as_a_bad_file_is(damaged, loader_of):
    decoded, kept = loader_of(root=damaged), loader_of(root=damaged, in_memory=True)
    for _ in range(decoded.steps_per_epoch):
        assert torch.equal(next(kept).pixels, next(decoded).pixels)
    assert kept.skipped == decoded.skipped != {}


def test_more_clips_than_there_is_memory_are_refused(loader_of, monkeypatch):
    monkeypatch.setattr("workbench.data.kept.available_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match=r"`dataset.in_memory`: the clips take .* GB, 1e-06 GB are free"):
        loader_of(in_memory=True)


def test_varied_clips_differ_from_epoch_to_epoch_but_not_from_run_to_run_nor_by_where_they_are_kept(loader_of):
    settings = {"buckets": {"16px_ar1:1": {8: (1.0, 2)}}, "vary": True}
    decoded, again, kept = loader_of(**settings), loader_of(**settings), loader_of(**settings, in_memory=True)
    epochs = [[next(decoded) for _ in range(decoded.steps_per_epoch)] for _ in range(2)]
    for batch in (batch for epoch in epochs for batch in epoch):
        assert batch.pixels.shape == (2, 3, 8, 16, 16)
        assert torch.equal(next(again).pixels, batch.pixels)
        assert torch.equal(next(kept).pixels, batch.pixels)
    first, second = ({p: x for b in epoch for p, x in zip(b.paths, b.pixels, strict=True)} for epoch in epochs)
    assert first.keys() & second.keys()
    assert not any(torch.equal(first[path], second[path]) for path in first.keys() & second.keys())
