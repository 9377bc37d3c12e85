"""Latents of a data set: statistics, encoding that survives a kill, and decoding to what `reconstruct` gives."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from clips import moving_frames, write_clip
from killed import run_until_killed
from safetensors import safe_open
from small_models import ARCHITECTURES, small_model

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import DeviceMemoryError
from workbench.latents.decode import decode_dataset, decoded_frames, decoding_tiling, open_latents, stored_clips
from workbench.media.image import write_image
from workbench.media.reader import read_video
from workbench.media.writer import VideoWriter
from workbench.models.coding import encode_tiled
from workbench.models.dct import DCT as DCT_MODEL
from workbench.models.latent_moments import read_statistics
from workbench.models.registry import load_autoencoder
from workbench.models.weights import save_weights
from workbench.ranks import World
from workbench.roundtrip.clip import reconstruct
from workbench.tile_settings import Tiling

ROOT = Path(__file__).parents[1]
SIZES = {"one.mkv": (9, 48, 70), "two.mkv": (5, 33, 40), "three.mkv": (14, 64, 64)}
UNEVEN_S = (0.0, 0.04, 0.12, 0.2, 0.48)
DCT = ("--model", "dct")
SMALL = ("--model", "video_dc_ae", "--model.from_pretrained", "small.safetensors")
TILES = ("--model.spatial_tile_size", 32, "--model.temporal_tile_size", 8)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with four clips, one of them of uneven rate, a photo, and weights of a small Video DC-AE."""
    folder = tmp_path_factory.mktemp("latents")
    (folder / "clips").mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        write_clip(folder / "clips" / name, *size, seed)
    with VideoWriter(folder / "clips" / "uneven.mkv", 25.0, lossless=True) as writer:
        writer.write(moving_frames(5, 32, 32), UNEVEN_S)
    write_image(moving_frames(1, 30, 40)[0], folder / "clips" / "photo.png")
    architecture = ARCHITECTURES["video_dc_ae"]
    save_weights(folder / "small.safetensors", small_model("video_dc_ae").state_dict(), "video_dc_ae", architecture)
    return folder


@pytest.fixture
def inside(world, monkeypatch) -> Path:
    monkeypatch.chdir(world)
    return world


def run(command: str, *flags: object) -> None:
    main("workbench", COMMANDS, [command, *map(str, flags), "--device", "cpu"])


def refused(capsys, command: str, *flags: object) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as exit:
        run(command, *flags)
    assert exit.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def encode(save_dir: Path, *flags: object, data: str = "clips") -> None:
    model = () if "--model" in flags else DCT
    run("encode", "--dataset.data_path", data, "--save_dir", save_dir, *model, *flags)


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def encoded(world, tmp_path_factory) -> Path:
    """All clips as latents of the small model, in tiles."""
    folder = tmp_path_factory.mktemp("encoded") / "latents"
    before = Path.cwd()
    os.chdir(world)
    try:
        encode(folder, *SMALL, *TILES)
    finally:
        os.chdir(before)
    return folder


# Statistics


def test_statistics_are_those_of_all_latents_at_once(inside, tmp_path):
    """Computed directly: every clip encoded in memory, all values side by side."""
    run("stats", "--dataset.data_path", "clips", *SMALL, *TILES, "--max_frames", 9, "--out", tmp_path / "s.json")
    ae, tiles = load_autoencoder("video_dc_ae", "small.safetensors", "cpu"), Tiling(True, True, 32, 8)
    latents = [
        encode_tiled(ae, read_video(path, max_frames=9).to_tensor(), tiles)[0].flatten(1)
        for path in sorted(Path("clips").iterdir())
    ]
    values = torch.cat(latents, dim=1).double()
    found = read_statistics(tmp_path / "s.json")
    assert found.count == values.shape[1]
    torch.testing.assert_close(torch.tensor(found.mean).double(), values.mean(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.tensor(found.std).double(), values.std(1, correction=0), rtol=1e-6, atol=1e-7)
    assert found.model == "video_dc_ae"
    assert found.architecture["latent_channels"] == 16
    assert (found.policy["clips"], found.policy["max_frames"]) == (5, 9)


def test_statistics_go_beside_the_weights_and_need_a_place_without_any(inside, capsys):
    run("stats", "--dataset.data_path", "clips/two.mkv", *SMALL)
    assert read_statistics(inside / "small.stats.json").count == 2 * 2 * 2
    (inside / "small.stats.json").unlink()
    assert "--out is needed: dct has no weights file" in refused(capsys, "stats", "--dataset.data_path", "clips", *DCT)


def test_a_clip_without_statistics_is_named(inside, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("not a video")
    (tmp_path / "two.mkv").symlink_to(inside / "clips" / "two.mkv")
    said = refused(capsys, "stats", "--dataset.data_path", tmp_path, *DCT, "--out", tmp_path / "s.json")
    assert "left out of the statistics: 1 clip, see above" in said
    assert read_statistics(tmp_path / "s.json").policy["clips"] == 1


# Encoding


def test_the_index_finds_the_latents_of_every_clip(inside, encoded):
    """The shards are read as anybody's training code would: by the index and safetensors alone."""
    ae, tiles = load_autoencoder("video_dc_ae", "small.safetensors", "cpu"), Tiling(True, True, 32, 8)
    rows = index(encoded)
    assert [Path(row["path"]).name for row in rows] == ["one.mkv", "photo.png", "three.mkv", "two.mkv", "uneven.mkv"]
    for row in rows:
        video = read_video(row["path"])
        with safe_open(encoded / row["shard"], framework="pt") as shard:
            latents = shard.get_tensor(row["key"])
        assert torch.equal(latents, encode_tiled(ae, video.to_tensor(), tiles)[0])
        assert [int(row[f"latent_{n}"]) for n in ("channels", "frames", "height", "width")] == list(latents.shape)
        size = video.num_frames, video.height, video.width
        assert tuple(int(row[name]) for name in ("num_frames", "height", "width")) == size
        assert row["fps"] == ("" if row["path"].endswith(".png") else str(video.fps))
        assert (row["model"], row["latent_dtype"], row["normalised"]) == ("video_dc_ae", "float32", "False")


def test_a_shard_says_by_itself_what_it_holds(encoded):
    with safe_open(next(encoded.glob("shard-*")), framework="pt") as shard:
        header = json.loads(shard.metadata()["workbench.latents"])
    assert header["facts"]["model"] == "video_dc_ae"
    assert header["facts"]["architecture"]["latent_channels"] == 16
    assert len(header["facts"]["weights_sha256"]) == 64
    assert header["facts"]["policy"]["spatial_tile_size"] == 32
    assert len(header["clips"]) == 5
    assert not (encoded / "pending").exists()


def test_shards_are_cut_by_size(inside, tmp_path):
    (tmp_path / "clips").mkdir()
    for name in "abcd":  # 128 * 1 * 32 * 32 latents: 0.52 MB
        write_image(moving_frames(1, 64, 64)[0].repeat(1, 16, 16), tmp_path / "clips" / f"{name}.png")
    encode(tmp_path / "z", "--shard_mb", 1, data=str(tmp_path / "clips"))
    assert [len(shard.clips) for shard in open_latents(tmp_path / "z").shards()] == [2, 2]


def test_a_second_run_encodes_only_what_is_missing(inside, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for name in SIZES:
        (tmp_path / "clips" / name).write_bytes((inside / "clips" / name).read_bytes())
    (tmp_path / "clips" / "bad.mp4").write_text("not a video")
    data, folder = str(tmp_path / "clips"), tmp_path / "z"
    said = refused(capsys, "encode", "--dataset.data_path", data, "--save_dir", folder, *DCT)
    assert "left out: 1 clip, see above; the same command tries again" in said
    (tmp_path / "clips" / "bad.mp4").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    write_clip(tmp_path / "clips" / "four.mkv", 4, 32, 32)
    encode(folder, data=data)
    assert "4 clips in index.csv, 1 of them encoded by this run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [len(shard.clips) for shard in open_latents(folder).shards()] == [3, 1]


def test_a_killed_encoding_goes_on_without_repeating_clips(inside, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for number in range(12):
        write_clip(tmp_path / "clips" / f"{number:02d}.mkv", 8, 128, 128, number)
    words = ["encode", "--dataset.data_path", str(tmp_path / "clips"), "--save_dir", str(tmp_path / "z"), *DCT]
    run_until_killed(words, "pending/*", 3)
    assert len(list((tmp_path / "z").glob("pending/[!.]*"))) == 3
    (tmp_path / "z" / ".abc.safetensors").write_text("half-written")
    main("workbench", COMMANDS, words)
    assert "12 clips in index.csv, 9 of them encoded by this run" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "z").rglob("*safetensors")) == ["shard-000-00000.safetensors"]


def test_a_kill_between_a_shard_and_its_parts_leaves_no_clip_twice(inside, tmp_path):
    folder = tmp_path / "z"
    encode(folder)
    key = index(folder)[0]["key"]
    shard = open_latents(folder).shards()[0]
    (folder / "pending").mkdir()
    open_latents(folder).save(shard.facts, key, shard.clips[key], shard.tensors([key]))
    encode(folder)
    assert not (folder / "pending").exists()
    assert len(index(folder)) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max_frames", 4), "max_frames was null, is 4; give those settings again, or another --save_dir"),
        (("--latent_dtype", "bfloat16"), 'latent_dtype was "float32", is "bfloat16"'),
        (("--model.spatial_tile_size", 64), "spatial_tile_size was 32, is 64"),
        (("--model", "dct", "--model.from_pretrained", "None"), "weights_sha256 was"),
    ],
)
def test_other_latents_are_not_mixed_in(inside, encoded, capsys, flags, message):
    given = dict(zip((SMALL + TILES)[::2], (SMALL + TILES)[1::2], strict=True)) | dict(
        zip(flags[::2], flags[1::2], strict=True)
    )
    words = [word for pair in given.items() for word in pair]
    before = {path: path.stat().st_mtime_ns for path in encoded.rglob("*")}
    assert message in refused(capsys, "encode", "--dataset.data_path", "clips", "--save_dir", encoded, *words)
    assert {path: path.stat().st_mtime_ns for path in encoded.rglob("*")} == before


def test_a_clip_that_changed_is_refused(inside, tmp_path, capsys):
    clip = write_clip(tmp_path / "a.mkv", 4, 32, 32)
    encode(tmp_path / "z", data=str(clip))
    write_clip(clip, 5, 32, 32)
    said = refused(capsys, "encode", "--dataset.data_path", clip, "--save_dir", tmp_path / "z", *DCT)
    assert "has changed since it was encoded" in said


def test_two_runs_do_not_write_into_one_folder(inside, encoded, capsys):
    folder = open_latents(encoded)
    with folder.claimed(folder.facts):
        words = ["--dataset.data_path", "clips", "--save_dir", encoded, *SMALL, *TILES]
        assert "another process encodes into it" in refused(capsys, "encode", *words)


# Normalisation


def test_normalised_latents_are_recorded_and_undone(inside, encoded, tmp_path, capsys):
    words = ["--dataset.data_path", "clips", *SMALL, *TILES]
    statistics = tmp_path / "s.json"
    run("stats", *words, "--out", statistics)
    folder = tmp_path / "z"
    encode(folder, *SMALL, *TILES, "--normalise", statistics)
    stored = {clip.path: (shard, key) for shard, key, clip in stored_clips(open_latents(folder))}
    values = torch.cat([shard.read(key)[0].flatten(1) for shard, key in stored.values()], dim=1).double()
    torch.testing.assert_close(values.mean(1), torch.zeros(16).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(1, correction=0), torch.ones(16).double(), atol=1e-5, rtol=0)
    ae = load_autoencoder("video_dc_ae", "small.safetensors", "cpu")
    for shard, key, clip in stored_clips(open_latents(encoded)):
        other = stored[clip.path]
        expected, found = (
            torch.cat(list(decoded_frames(ae, *source, Tiling(True, True, 32, 8))[0])).int()
            for source in ((shard, key), other)
        )
        assert (expected - found).abs().max() <= 1


def test_statistics_of_another_model_are_refused(inside, tmp_path, capsys):
    run("stats", "--dataset.data_path", "clips/two.mkv", *DCT, "--out", tmp_path / "dct.json")
    words = ["--dataset.data_path", "clips", "--save_dir", tmp_path / "z"]
    said = refused(capsys, "encode", *words, *SMALL, "--normalise", tmp_path / "dct.json")
    assert "these are statistics of 128 channels, video_dc_ae has 16" in said
    said = refused(capsys, "encode", *words, *SMALL, "--normalise", "weights")
    assert "small.stats.json is missing; run python -m workbench stats first" in said
    assert "dct has no weights file" in refused(capsys, "encode", *words, *DCT, "--normalise", "weights")
    assert not (tmp_path / "z").exists()


# Decoding


def test_decoding_gives_what_reconstruct_gives(inside, encoded, tmp_path):
    """Frame for frame and bit for bit, with the rate, the size and uneven timestamps."""
    run("decode", encoded, "--save_dir", tmp_path, "--lossless", True)
    ae, tiles = load_autoencoder("video_dc_ae", "small.safetensors", "cpu"), Tiling(True, True, 32, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in Path("clips").iterdir())
    for path in sorted(Path("clips").iterdir()):
        source, found = read_video(path), read_video(tmp_path / path.name)
        assert torch.equal(found.frames, reconstruct(ae, source, tiles).output.frames)
        assert found.fps == pytest.approx(source.fps)
    assert read_video(tmp_path / "uneven.mkv").timestamps_s == pytest.approx(UNEVEN_S, abs=1e-3)


def test_decoding_takes_the_tiles_of_the_encoding(encoded):
    assert decoding_tiling(open_latents(encoded), {}) == Tiling(True, True, 32, 8)


def test_decoding_takes_the_mode_that_is_asked_for(inside, encoded, tmp_path, capsys):
    """How a decoder is run is no property of the latents: those of tiles, streamed."""
    run("decode", encoded, "--save_dir", tmp_path, "--lossless", True, "--model.tiling_mode", "stages")
    assert "auto" not in capsys.readouterr().err
    ae = load_autoencoder("video_dc_ae", "small.safetensors", "cpu")
    differ = []
    for shard, key, clip in stored_clips(open_latents(encoded)):
        found = read_video(tmp_path / Path(clip.path).name).frames
        streamed, tiled = (
            torch.cat(list(decoded_frames(ae, shard, key, Tiling(True, True, 32, 8, tiling_mode=mode))[0]))
            for mode in ("stages", "tiles")
        )
        assert torch.equal(found, streamed)
        differ.append(not torch.equal(streamed, tiled))
    assert any(differ)


def test_a_clip_is_decoded_from_its_beginning_again_where_memory_runs_out(inside, tmp_path, monkeypatch):
    encode(tmp_path / "z", data="clips/three.mkv")
    folder, ae, stages = open_latents(tmp_path / "z"), load_autoencoder("dct", device="cpu"), DCT_MODEL.decode_stages
    (shard, key, _), choices = stored_clips(folder)[0], []
    expected = torch.cat(list(decoded_frames(ae, shard, key, Tiling())[0]))

    def starved(self, is_image):
        """The last push finds no memory, with frames of the others written."""
        (stage,) = stages(self, is_image)

        def push(x, is_last, push):
            if is_last:
                raise DeviceMemoryError("out of memory")
            return push(x, is_last)

        return [replace(stage, stream=lambda size: partial(push, push=stage.stream(size)))]

    monkeypatch.setattr(DCT_MODEL, "decode_stages", starved)

    def tell(failure, choice, done, total):
        choices.append(choice.reason)

    decode_dataset(ae, folder, tmp_path / "y", Tiling(push_frames=1), World(0, 1, ae.device), True, tell)
    assert choices == ["tiles instead, which need less memory; memory ran out with stages, 1 frame at once"]
    assert [path.name for path in (tmp_path / "y").iterdir()] == ["three.mkv"]
    assert torch.equal(read_video(tmp_path / "y" / "three.mkv").frames, expected)


def test_what_auto_took_is_said_once_for_many_clips(inside, tmp_path, capsys):
    folder, auto = tmp_path / "z", ("--model.tiling_mode", "auto", "--model.memory_gb", 0.5)
    for work in (lambda: encode(folder, *auto), lambda: run("decode", folder, "--save_dir", tmp_path / "y", *auto)):
        work()
        said = capsys.readouterr().err
        assert said.count("auto took") == said.count("--model.tiling_mode auto took stages, 4 frames at once: 0.0") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model.memory_gb", 1), "--model.memory_gb: only --model.tiling_mode auto goes by it"),
        (("--model.tiling_mode", "tiles", "--model.push_frames", 2), "--model.push_frames: nothing is streamed"),
        (("--model.tiling_mode", "stage"), "--model.tiling_mode: 'stage' is not one of tiles, stages"),
        (("--model.spatial_tile_size", 33), "--model.spatial_tile_size: 33 is no multiple of 32"),
    ],
)
def test_decoding_refuses_what_cannot_be_before_it_begins(inside, encoded, tmp_path, capsys, flags, message):
    assert message in refused(capsys, "decode", encoded, "--save_dir", tmp_path / "y", *flags)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Tiling(tiling_mode="auto", memory_gb=2.0, push_frames=3, spatial_tile_size=64)),
        ({"memory_gb": 1.0}, Tiling(tiling_mode="auto", memory_gb=1.0, push_frames=3, spatial_tile_size=64)),
        ({"tiling_mode": "tiles"}, Tiling(tiling_mode="tiles", spatial_tile_size=64)),
        (
            {"tiling_mode": "frames", "push_frames": 1},
            Tiling(tiling_mode="frames", push_frames=1, spatial_tile_size=64),
        ),
    ],
)
def test_another_mode_comes_without_what_was_for_the_one_of_encoding(tmp_path, changes, expected):
    made = Tiling(tiling_mode="auto", memory_gb=2.0, push_frames=3, spatial_tile_size=64)
    (tmp_path / "latents.json").write_text(json.dumps({"policy": {**asdict(made), "dtype": "float32"}}))
    assert decoding_tiling(open_latents(tmp_path), changes) == expected


def test_moved_weights_can_be_named_and_others_are_refused(inside, encoded, tmp_path, capsys):
    state = small_model("video_dc_ae").state_dict()
    moved = tmp_path / "moved.safetensors"
    save_weights(moved, state, "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    run("decode", encoded, "--save_dir", tmp_path / "y", "--model.from_pretrained", moved)
    assert len(list((tmp_path / "y").iterdir())) == 5
    other = tmp_path / "other.safetensors"
    save_weights(other, {n: t + 1e-3 for n, t in state.items()}, "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    for model in (["--model.from_pretrained", other], ["--model", "dct"]):
        said = refused(capsys, "decode", encoded, "--save_dir", tmp_path / "no", *model)
        assert "holds latents of video_dc_ae with weights" in said
    assert not (tmp_path / "no").exists()


def test_decoding_never_takes_the_place_of_a_source(inside, encoded, capsys):
    before = {path: path.read_bytes() for path in Path("clips").iterdir() if path.is_file()}
    assert "holds the source" in refused(capsys, "decode", encoded, "--save_dir", "clips")
    assert {path: path.read_bytes() for path in Path("clips").iterdir() if path.is_file()} == before


def test_shipped_statistics_are_not_replaced(inside, capsys):
    said = refused(capsys, "stats", "--dataset.data_path", "clips/two.mkv", "--model", "tiny")
    assert "tiny is shipped with statistics of its own" in said


def test_clips_of_one_name_become_two_files(inside, tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write_clip(tmp_path / place / "same.mkv", 4, 32, 32, ord(place))
    for place in ("a", "b"):
        encode(tmp_path / "z", data=str(tmp_path / place))
    run("decode", tmp_path / "z", "--save_dir", tmp_path / "y")
    assert len(list((tmp_path / "y").glob("same-*.mp4"))) == 2


def test_no_name_leads_out_of_the_folder_or_hides_what_is_decoded(inside, tmp_path):
    (tmp_path / "a").mkdir()
    rows = "path,num_frames,height,width,fps\n"
    for name in ("...mkv", "..mkv"):
        write_clip(tmp_path / name, 4, 32, 32)
        rows += f"../{name},4,32,32,25\n"
    (tmp_path / "a" / "data.csv").write_text(rows)
    encode(tmp_path / "z", data=str(tmp_path / "a" / "data.csv"))
    run("decode", tmp_path / "z", "--save_dir", tmp_path / "b" / "y")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["y"]
    names = [path.name for path in (tmp_path / "b" / "y").iterdir()]
    assert len(names) == 2
    assert not any(name.startswith(".") for name in names)


def test_latents_in_bfloat16_take_half_the_room(inside, tmp_path):
    encode(tmp_path / "z", "--latent_dtype", "bfloat16", data="clips/three.mkv")
    ((shard, key, clip),) = stored_clips(open_latents(tmp_path / "z"))
    latents, _ = shard.read(key)
    assert latents.dtype == torch.bfloat16
    frames = torch.cat(list(decoded_frames(load_autoencoder("dct", device="cpu"), shard, key, Tiling())[0]))
    assert frames.shape == (clip.num_frames, 3, clip.height, clip.width)


@pytest.mark.parametrize("damage", ["nothing", "no facts", "shard cut short"])
def test_what_are_no_latents_is_refused_in_one_line(inside, encoded, tmp_path, capsys, damage):
    if damage == "no facts":
        (tmp_path / "latents.json").write_text("{")
    elif damage == "shard cut short":
        for path in encoded.glob("*.*"):
            (tmp_path / path.name).write_bytes(path.read_bytes()[: 3000 if path.name.startswith("shard") else None])
    expected = {
        "nothing": "not a folder of latents",
        "no facts": "latents.json': is damaged",
        "shard cut short": "shard-000-00000.safetensors': not a file of latents",
    }
    assert expected[damage] in refused(capsys, "decode", tmp_path, "--save_dir", tmp_path / "y")


# Ranks


@pytest.mark.slow
def test_two_ranks_give_what_one_gives(inside, encoded, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def on_two(*words: object) -> None:
        command = [*torchrun, "workbench", *map(str, words), "--device", "cpu"]
        done = subprocess.run(command, cwd=inside, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]

    words = ["--dataset.data_path", "clips", *SMALL, *TILES]
    on_two("stats", *words, "--out", tmp_path / "two.json")
    run("stats", *words, "--out", tmp_path / "one.json")
    one, two = (read_statistics(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert (one.count, one.policy) == (two.count, two.policy)
    # Float32, on one thread instead of several: latents differ by the order of sums, and a mean is near 0.
    assert two.mean == pytest.approx(one.mean, rel=1e-4, abs=1e-5)
    assert two.std == pytest.approx(one.std, rel=1e-4)
    on_two("encode", *words, "--save_dir", tmp_path / "z")
    assert sorted(path.name for path in (tmp_path / "z").glob("shard*")) == [
        "shard-000-00000.safetensors",
        "shard-001-00000.safetensors",
    ]
    expected = {key: shard.read(key)[0] for shard, key, _ in stored_clips(open_latents(encoded))}
    for shard, key, _ in stored_clips(open_latents(tmp_path / "z")):
        torch.testing.assert_close(shard.read(key)[0], expected[key], rtol=1e-4, atol=1e-5)
    on_two("decode", tmp_path / "z", "--save_dir", tmp_path / "y")
    assert len(list((tmp_path / "y").iterdir())) == 5
