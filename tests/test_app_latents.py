"""The callbacks of the Latents tab, as plain functions: clips to latents and back, and files from anywhere."""

import html
import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from clips import moving_frames
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import small_model
from tab_parts import BUNNY, SMALL, VISITOR, choices, jobs_in, make_tab

from workbench.errors import WorkbenchError
from workbench.jobs.found_models import pick
from workbench.jobs.latents import LatentView, decode_job, encode_job
from workbench.latents.clips import decode_clip
from workbench.latents.shards import read_shard
from workbench.media.image import write_image
from workbench.media.reader import read_video
from workbench.models.registry import load_autoencoder
from workbench.steps import Progress, drain
from workbench.tile_settings import Tiling
from workbench.ui.latents import LatentsTab


def test_latents_go_into_a_file_and_come_back_as_the_same_clip(root: Path, tmp_path: Path) -> None:
    for folder in ("there", "back"):
        (tmp_path / folder).mkdir()
    entry, ae = pick(["dct"], root)[0], load_autoencoder("dct")
    view = drain(encode_job(choices(), entry, ae, tmp_path / "there"))
    frames = read_video(BUNNY, max_frames=8)
    shard = read_shard(view.file)
    clip = next(iter(shard.clips.values()))
    assert (clip.path, clip.num_frames, clip.height, clip.width) == ("bunny.mp4", 8, 64, 114)
    assert clip.fps == pytest.approx(frames.fps)
    assert shard.facts["model"] == "dct"
    assert str(tmp_path) not in view.file.read_bytes()[:20000].decode("latin1")
    back = drain(decode_job(choices(str(view.file)), entry, ae, tmp_path / "back"))
    assert torch.equal(back.latents, view.latents)
    decoded = read_video(back.decoded)
    assert decoded.frames.shape == (8, 3, 64, 114)
    assert back.notes == ()


def test_latents_that_are_not_finite_are_refused_and_no_file_is_written(root: Path, tmp_path: Path) -> None:
    entry, ae = pick([SMALL], root)[0], small_model("video_dc_ae")
    next(ae.parameters()).fill_(float("nan"))
    (tmp_path / "job").mkdir()
    with pytest.raises(WorkbenchError, match=r"latents that are not finite .*; the weights may be damaged"):
        drain(encode_job(choices(), entry, ae, tmp_path / "job"))
    assert not list((tmp_path / "job").iterdir())


def test_a_photo_goes_into_latents_and_comes_back_as_a_picture(root: Path, tmp_path: Path) -> None:
    entry, ae = pick(["dct"], root)[0], load_autoencoder("dct")
    write_image(moving_frames(1, 40, 56)[0], tmp_path / "photo.png")
    view = drain(encode_job(choices(str(tmp_path / "photo.png"), resolution=""), entry, ae, tmp_path))
    seen: list[Progress] = []
    (tmp_path / "back").mkdir()
    back = drain(decode_job(choices(str(view.file), spatial_tile_size=32), entry, ae, tmp_path / "back"), seen.append)
    expected = decode_clip(ae, view.latents, 1, (40, 56), Tiling(spatial_tile_size=32))
    assert torch.equal(read_video(back.decoded).frames, next(expected))
    assert [progress.stage for progress in seen] == ["decode"] * seen[-1].total


def test_latents_of_another_model_are_refused_and_of_other_weights_noted(root: Path, tmp_path: Path) -> None:
    entry, ae = pick([SMALL], root)[0], small_model("video_dc_ae")
    view = drain(encode_job(choices(), entry, ae, tmp_path))
    with pytest.raises(WorkbenchError, match="128"):
        drain(decode_job(choices(str(view.file)), pick(["dct"], root)[0], load_autoencoder("dct"), tmp_path))
    with torch.no_grad():
        next(ae.parameters()).add_(0.1)
    (tmp_path / "back").mkdir()
    noted = drain(decode_job(choices(str(view.file)), entry, ae, tmp_path / "back"))
    assert "other weights" in noted.notes[0]


def forged(view: LatentView, clip: dict | None = None, tensors: dict | None = None, **facts) -> Path:
    """The file of latents with other entries in its header, or other tensors."""
    with safe_open(view.file, framework="pt") as file:
        metadata, kept = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata["workbench.latents"])
    header["clips"]["clip"] |= clip or {}
    header["facts"] |= facts
    path = view.file.with_name("forged.safetensors")
    save_file(kept | (tensors or {}), path, {"workbench.latents": json.dumps(header)})
    return path


@pytest.fixture
def encoded(root: Path, tmp_path: Path) -> LatentView:
    """Eight frames as 128 channels of dct, in a file."""
    return drain(encode_job(choices(), pick(["dct"], root)[0], load_autoencoder("dct"), tmp_path))


def run(tab: LatentsTab, model: str, source: str = BUNNY):
    return tab.run(VISITOR, model, *vars(choices(source)).values())


def times(*seconds: float) -> dict:
    return {"tensors": {"clip.timestamps_s": torch.tensor(seconds, dtype=torch.float64)}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"clip": {"num_frames": "8"}}, "num_frames of clip is '8'"),
        ({"clip": {"num_frames": -1}}, "num_frames of clip is -1"),
        ({"clip": {"fps": 0}}, "fps of clip is 0"),
        ({"clip": {"fps": 1e6}}, "fps of clip is 1000000.0"),
        ({"clip": {"fps": 10**400}}, "fps of clip is 1000"),
        ({"clip": {"height": 10**9}}, "latents"),
        ({"clip": {"width": None}}, "width of clip is None"),
        ({"clip": {"is_image": 1}}, "is_image of clip is 1"),
        ({"clip": {"path": 5}}, "path of clip is 5"),
        ({"clip": {"latent_shape": []}}, "latent_shape of clip is ()"),
        ({"normalisation": {"mean": [0.0] * 128}}, "normalisation is {'mean'"),
        ({"normalisation": {"mean": [0.0] * 128, "std": [-1.0] * 128}}, "normalisation is {"),
        ({"normalisation": {"mean": [0.0] * 128, "std": [float("nan")] * 128}}, "normalisation is {"),
        ({"normalisation": {"mean": [0.0] * 16, "std": [1.0] * 16}}, "normalisation is {"),
        ({"normalisation": {"mean": 0.0, "std": 1.0}}, "normalisation is {"),
        ({"normalisation": {"mean": [0.0] * 128, "std": [1e300] * 128}}, "the latents of clip are not finite"),
        ({"tensors": {"clip": torch.zeros(3)}}, "the latents of clip are torch.float32 (3,)"),
        ({"tensors": {"clip": torch.full((128, 2, 2, 4), torch.nan)}}, "the latents of clip are not finite"),
        (times(0, 1, 2, 3, 4, 5, 6, float("nan")), "the times of clip do not increase"),
        (times(0, 1, 2, 3, 4, 5, 6, 5), "the times of clip do not increase"),
        (times(0, 1, 2, 3, 4, 5, 6, 6 + 1e-6), "the times of clip do not increase"),
        ({"tensors": {"clip.timestamps_s": torch.zeros(8) * 1j}}, "the times of clip do not increase"),
        (times(0, 1), "the times of clip do not increase"),
    ],
)
def test_a_file_whose_record_makes_no_sense_is_refused(
    encoded: LatentView, root: Path, tmp_path: Path, change: dict, reason: str
) -> None:
    tab = make_tab(LatentsTab, tmp_path, root)
    last = list(run(tab, "dct", str(forged(encoded, **change))))[-1]
    notice = html.unescape(last[tab.panel.notice])
    assert reason in notice
    assert "forged.safetensors" in notice or "height" in str(change)
    assert "\n" not in notice
    assert not jobs_in(tmp_path)


def test_the_tab_shows_channels_of_any_frame_and_stored_statistics(root: Path, tmp_path: Path) -> None:
    (root / "weights" / "small.stats.json").write_text(json.dumps({"mean": [0.5] * 16, "std": [2.0] * 16}))
    tab = make_tab(LatentsTab, tmp_path, root)
    last = list(run(tab, SMALL))[-1]
    stored = [trace for trace in last[tab.statistics].data if trace.name == "stored"]
    assert [trace.y[0] for trace in stored] == [0.5, 2.0]
    assert last[tab.frame]["maximum"] == 1
    first, second = (tab.frame_chosen(last[tab.view], frame) for frame in (0, 1))
    assert first == last[tab.channels] != second
    gone = ("gone.safetensors", "clip")
    assert tab.frame_chosen(gone, 0) == tab.follow(gone, SimpleNamespace(frame=1, last=2)) == gr.skip()
    plain = list(run(tab, "dct"))[-1]
    assert "No statistics are stored" in plain[tab.words]
