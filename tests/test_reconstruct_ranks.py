"""One clip over two ranks by real torchrun: the numbers of one rank, and an end together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clips import write_clip
from media_files import with_bit_rot
from rank_runs import SIZE, TILES, shared_model

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.media.reader import read_video, scan_frames
from workbench.models.plans import tile_plans

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "tests" / "rank_runs.py"
SMALL_TILES = ["--model.spatial_tile_size", "64", "--model.temporal_tile_size", "8"]
COMMAND = ["--model", "dct", "--lossless", "True", "--device", "cpu", *SMALL_TILES]


def torchrun(*words: object) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run([*command, *map(str, words)], env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four clips in `clips`, and what two ranks made of them and of tensors: `two`, `rank-N.json` and `errors.txt`."""
    folder = tmp_path_factory.mktemp("ranks")
    clips = folder / "clips"
    clips.mkdir()
    write_clip(clips / "a.mkv", 37, 100, 130)
    (clips / "b.mp4").write_text("not a video")
    write_clip(clips / "c.mkv", 1, 100, 130)
    with_bit_rot(write_clip(folder / "d.mp4", 60, 96, 128)).rename(clips / "d.mp4")
    done = torchrun(RUNS, "share", folder, clips, "--save_dir", folder / "two", *COMMAND)
    (folder / "errors.txt").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def seen(folder) -> list[dict]:
    """What each of the two ranks of `rank_runs.share_tensors` saw."""
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_the_shared_clip_has_several_tiles_in_space_and_time_and_an_odd_number():
    encode, decode = tile_plans(shared_model(), *SIZE, TILES)
    assert (encode.spatial_tiles, len(encode), len(decode)) == (3, 9, 9)


def test_tensors_encoded_and_decoded_together_are_those_of_one_rank_bit_by_bit(seen):
    assert [(rank["latents equal"], rank["frames equal"]) for rank in seen] == [(True, True)] * 2


def test_two_ranks_make_in_every_mode_what_one_makes(seen):
    """Strips are of another height than whole frames, and kernels are chosen by size: equal but for rounding."""
    for rank in seen:
        assert set(rank["modes"]) == {"stages", "frames", "windows"}
        assert max(rank["modes"].values()) < 1e-4


def test_an_error_on_either_rank_is_raised_on_both_and_the_work_goes_on(seen):
    assert [rank["errors"] for rank in seen] == [["rank 0 cannot read", "rank 1 cannot read"]] * 2
    assert [rank["still in step"] for rank in seen] == [0, 0]


def test_the_command_writes_on_two_ranks_what_it_writes_on_one(folder):
    rotten = folder / "clips" / "d.mp4"
    assert scan_frames(rotten) == 60
    assert any("damaged" in line for line in read_video(rotten).warnings)  # all ranks begin again, counting by decoding
    errors = (folder / "errors.txt").read_text()
    assert errors.count("1 of 4 inputs were skipped") == errors.count("skipped: ") == errors.count("clips/b.mp4'") == 1
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["reconstruct", str(folder / "clips"), "--save_dir", str(folder / "one"), *COMMAND])
    for clip in ("a", "c"):
        files = {path.name for path in (folder / "two" / clip).iterdir()}
        assert files == {path.name for path in (folder / "one" / clip).iterdir()}
        one, two = (read_video(folder / run / clip / "reconstruction.mkv").frames for run in ("one", "two"))
        assert torch.equal(one, two)
        records = [json.loads((folder / run / clip / "metrics.json").read_text()) for run in ("one", "two")]
        assert records[0]["metrics"] == records[1]["metrics"]
        assert [record["used"]["ranks"] for record in records] == [1, 2]
    record = json.loads((folder / "two" / "d" / "metrics.json").read_text())
    assert (record["num_frames"], ["damaged" in line for line in record["warnings"]]) == (60, [True])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("read", "workbench: error: the file is gone"),
        pytest.param("write", "workbench: error: the disk is full", marks=pytest.mark.slow),
        pytest.param("defect", "workbench: error: rank 1 ended: ZeroDivisionError: a defect", marks=pytest.mark.slow),
    ],
)
def test_a_failure_on_one_rank_ends_both_with_one_line_and_leaves_no_file(tmp_path, monkeypatch, how, line):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 60, 100, 130)
    done = torchrun(RUNS, how, "clip.mp4", "--save_dir", "out", "--model", "dct", *SMALL_TILES)
    assert done.returncode != 0
    assert [text.startswith(line) for text in done.stderr.splitlines() if "error: " in text][:1] == [True], done.stderr
    assert done.stderr.count(line) == 1
    assert "exitcode  : 2 " in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_rank_that_is_killed_takes_the_other_along_which_removes_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 60, 100, 130)
    done = torchrun(RUNS, "kill", "clip.mp4", "--save_dir", "out", "--model", "dct", *SMALL_TILES)
    assert "exitcode  : -9 " in done.stderr  # by torchrun, which may end rank 0 before that notices
    assert "RuntimeError" not in done.stderr
    assert not list((tmp_path / "out").iterdir())
