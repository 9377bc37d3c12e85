"""The callbacks of the tabs beside Reconstruct, as plain functions."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from clips import moving_frames, write_clip
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import ARCHITECTURES, small_model

from workbench.data.source import open_clip
from workbench.errors import ConfigError, WorkbenchError
from workbench.evaluate import ModelEntry, evaluate_clip
from workbench.latents import decode_clip
from workbench.latents.shards import read_shard
from workbench.media import read_video, write_image
from workbench.models import build_autoencoder, load_autoencoder
from workbench.models.weights import save_weights
from workbench.steps import Progress, drain
from workbench.tiling import Tiling
from workbench.ui.about import AboutTab
from workbench.ui.clip_inputs import EXAMPLES, choices_of
from workbench.ui.compare import CompareTab
from workbench.ui.compare_job import DOWNLOADS, compare_job
from workbench.ui.found_models import find_models, pick, shape_of
from workbench.ui.jobs import JobFolders, ModelShelf, Uploads
from workbench.ui.latents import LatentsTab
from workbench.ui.latents_job import decode_job, encode_job
from workbench.ui.tiles import TilesTab
from workbench.ui.tiles_job import cost_of_tile, plan_tiles, seam_job
from workbench.ui.training import TrainingTab, open_run

BUNNY = str(EXAMPLES / "bunny.mp4")
VISITOR = SimpleNamespace(session_hash="a")
SMALL = "video_dc_ae@weights/small.safetensors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the weights of a small Video DC-AE."""
    folder = tmp_path / "root"
    (folder / "weights").mkdir(parents=True)
    state = small_model("video_dc_ae").state_dict()
    save_weights(folder / "weights" / "small.safetensors", state, "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    return folder


def make(kind, tmp_path: Path, root: Path):
    with gr.Blocks():
        return kind(JobFolders(tmp_path / "jobs"), Uploads(tmp_path / "uploads"), ModelShelf(), root, "cpu")


def choices(source: str = BUNNY, max_frames: int = 8, resolution: str = "64", **changes):
    return choices_of(source, max_frames, resolution, "cpu", **changes)


def jobs_in(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "jobs").glob("*"))


# Models that can run


def test_models_are_found_by_what_their_files_hold(root: Path) -> None:
    small = small_model("video_dc_ae")
    with torch.device("meta"):
        names = build_autoencoder("hunyuan_vae").state_dict()
    save_file({name: torch.zeros(1) for name in names}, root / "published.safetensors")
    save_file({"other": torch.zeros(1)}, root / "other.safetensors")
    (root / "damaged.safetensors").write_bytes(b"none")
    step = root / "outputs" / "run" / "step-000010"
    step.mkdir(parents=True)
    for name in ("ema", "model"):
        save_weights(step / f"{name}.safetensors", small.state_dict(), "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    (root / "wan").mkdir()
    (root / "wan" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    found = find_models(root)
    assert "dct" in found
    assert [label for label in found if found[label].weights or ":" in label] == [
        "video_dc_ae@outputs/run/step-000010",
        SMALL,
        "hunyuan_vae@published.safetensors",
        "diffusers:wan",
    ]
    assert shape_of(found[SMALL]).latent_channels == ARCHITECTURES["video_dc_ae"]["latent_channels"]


@pytest.mark.parametrize("label", ["video_dc_ae", "video_dc_ae@/etc/passwd", "diffusers:../x", "dct@x"])
def test_only_models_that_were_found_can_be_named(root: Path, label: str) -> None:
    with pytest.raises(ConfigError, match="no such model"):
        pick([label], root)


def test_weights_that_a_link_leads_to_outside_the_root_are_not_offered(root: Path, tmp_path: Path) -> None:
    (root / "weights" / "small.safetensors").rename(tmp_path / "small.safetensors")
    (root / "weights" / "small.safetensors").symlink_to(tmp_path / "small.safetensors")
    assert SMALL not in find_models(root)


# Compare


def test_every_model_is_measured_as_evaluate_measures(root: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    job = drain(
        compare_job(choices(), pick(["dct", SMALL], root), ModelShelf(), tmp_path, str), on_progress=seen.append
    )
    assert [row["model"] for row in job.rows] == ["dct", SMALL]
    clip = open_clip(BUNNY, choices().policy, 32)
    expected = evaluate_clip(load_autoencoder("dct"), clip, Tiling()).result
    assert job.rows[0]["psnr"] == pytest.approx(sum(expected.metrics["psnr"]) / 8)
    assert {progress.stage for progress in seen} >= {"dct: encode", f"{SMALL}: decode"}
    assert list(job.downloads) == list(DOWNLOADS)
    with job.downloads["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == ["bunny.mp4"] * 2
    assert {row["peak_memory_mb"] for row in rows} == {""}, "on a CPU it is that of the whole app"
    assert seen[-1] == Progress("write", 8, 8)
    assert len(job.downloads["frames_csv"].read_text().splitlines()) == 1 + 2 * 8
    assert str(tmp_path) not in job.downloads["json"].read_text()
    grid = read_video(job.downloads["grid"])
    assert grid.num_frames == 8
    assert grid.width > 2 * 113


def test_the_baseline_is_always_there_and_photos_give_a_picture(root: Path, tmp_path: Path) -> None:
    tab = make(CompareTab, tmp_path, root)
    write_image(torch.zeros(3, 40, 56, dtype=torch.uint8), tmp_path / "photo.png")
    last = list(tab.run(str(tmp_path / "photo.png"), 0, "", "cpu", [SMALL], VISITOR))[-1]
    assert last[tab.picture]["value"].endswith("photo_comparison.png")
    assert not last[tab.video]["visible"]
    assert ">dct</th>" in last[tab.table]
    assert "Peak memory is left out" in last[tab.table]
    assert "nan" not in last[tab.table]
    assert "small.safetensors</th>" in last[tab.table]


def test_a_model_that_fails_is_named_and_the_others_go_on(root: Path, tmp_path: Path) -> None:
    tab = make(CompareTab, tmp_path, root)
    (root / "weights" / "small.safetensors").write_bytes(b"damaged")
    broken = ModelEntry("broken", "video_dc_ae", str(root / "weights" / "small.safetensors"))
    job = drain(compare_job(choices(), [*pick(["dct"], root), broken], ModelShelf(), tmp_path, str))
    assert [row["model"] for row in job.rows] == ["dct"]
    assert "not a readable .safetensors file" in job.failures["broken"]
    assert "broken is left out" in tab._shown(job)[tab.table]


def test_closing_a_comparison_leaves_no_file_and_a_refused_one_says_why(root: Path, tmp_path: Path) -> None:
    tab = make(CompareTab, tmp_path, root)
    steps = tab.run(BUNNY, 8, "64", "cpu", ["dct"], VISITOR)
    for _ in range(3):
        next(steps)
    steps.close()
    assert not jobs_in(tmp_path)
    last = list(tab.run(None, 8, "64", "cpu", ["dct"], VISITOR))[-1]
    assert "drop a clip" in last[tab.panel.notice]
    assert not jobs_in(tmp_path)


# Tiles


def test_the_plan_is_the_one_that_the_job_runs_and_its_cost_is_that_of_its_tiles(root: Path, tmp_path: Path) -> None:
    tab = make(TilesTab, tmp_path, root)
    words = tab.plan(BUNNY, 24, "128", "cpu", "video_dc_ae", 64, 8, 0.25)[tab.words]  # without weights
    chosen = choices(max_frames=24, resolution="128", spatial_tile_size=64, temporal_tile_size=8)
    planned = plan_tiles(chosen, build_autoencoder("dct"))
    assert planned.tile_shape == (8, 64, 64)
    assert f"<b>{len(planned.plans[0])} tiles</b> of 8 frames, 64×64" in words
    assert f"<b>{planned.read_ratio:.2f} times</b>" in words
    assert f"<b>{len(planned.plans[0]) * 1.03:.3g} TFLOP</b>" in words  # 65.8 TFLOP for 32 frames of 256 x 256, / 64


def test_seams_are_measured_between_the_plan_and_one_piece(root: Path) -> None:
    chosen = choices(max_frames=4, spatial_tile_size=32, tile_overlap_factor=0.0)
    ae = small_model("video_dc_ae")
    seen: list[Progress] = []
    report = drain(seam_job(chosen, ae), seen.append)
    assert {progress.stage for progress in seen} >= {"one piece: encode", "tiles: decode"}
    assert report.seams.map_HW.shape == (64, 114)
    assert report.seams.jumps["width"].ratio > 1.5
    independent = drain(seam_job(chosen, load_autoencoder("dct")))
    assert independent.seams.map_HW.max() < 0.01
    assert drain(seam_job(choices(spatial_tile_size=256), ae)).seams is None


def test_sliders_stop_at_legal_tiles_only(root: Path, tmp_path: Path) -> None:
    tab = make(TilesTab, tmp_path, root)
    for label in ("dct", "hunyuan_vae"):
        side, frames = tab.model_chosen(label)
        ae = build_autoencoder("dct") if label == "dct" else shape_of(tab._entry(label))
        for value in range(frames["minimum"], frames["maximum"] + 1, frames["step"]):
            chosen = choices(temporal_tile_size=value, spatial_tile_size=side["minimum"])
            plan_tiles(chosen, ae)  # refuses what is not legal
        assert (frames["value"] - frames["minimum"]) % frames["step"] == 0


def test_sliders_begin_alike_whenever_a_model_is_chosen_and_cut_small_clips(root: Path, tmp_path: Path) -> None:
    tab = make(TilesTab, tmp_path, root)
    for slider, update in zip((tab.side, tab.frames), tab.model_chosen(tab.model.value), strict=True):
        assert {name: getattr(slider, name) for name in ("minimum", "maximum", "step", "value")} == {
            name: update[name] for name in ("minimum", "maximum", "step", "value")
        }
    assert tab.model_chosen("tiny")[0]["value"] == 128


def test_the_cost_of_a_tile_counts_tensors_that_no_weight_file_holds(root: Path) -> None:
    basis = 128 * (4 + 1) * 32 * 32 * 3 * 4  # of clips and of photos
    assert cost_of_tile(pick(["dct"], root)[0], "cpu", (4, 32, 32)).weight_bytes == basis


def test_a_model_without_weights_says_so_when_it_should_run(root: Path, tmp_path: Path) -> None:
    tab = make(TilesTab, tmp_path, root)
    last = list(tab.run(BUNNY, 4, "64", "cpu", "video_dc_ae", 64, 8, 0.25, VISITOR))[-1]
    assert "video_dc_ae needs weights" in last[tab.panel.notice]


# Latents


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
    with pytest.raises(WorkbenchError, match="latents that are not finite; the weights may be damaged"):
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


@pytest.mark.parametrize(
    "change", [{"num_frames": "8"}, {"num_frames": -1}, {"fps": 0}, {"height": 10**9}, {"width": None}]
)
def test_a_file_whose_record_makes_no_sense_is_refused(root: Path, tmp_path: Path, change: dict) -> None:
    entry, ae = pick(["dct"], root)[0], load_autoencoder("dct")
    view = drain(encode_job(choices(), entry, ae, tmp_path))
    with safe_open(view.file, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata["workbench.latents"])
    header["clips"]["clip"] |= change
    forged = tmp_path / "forged.safetensors"
    save_file(tensors, forged, {"workbench.latents": json.dumps(header)})
    with pytest.raises(WorkbenchError):
        drain(decode_job(choices(str(forged)), entry, ae, tmp_path))


def test_the_tab_shows_channels_of_any_frame_and_stored_statistics(root: Path, tmp_path: Path) -> None:
    (root / "weights" / "small.stats.json").write_text(json.dumps({"mean": [0.5] * 16, "std": [2.0] * 16}))
    tab = make(LatentsTab, tmp_path, root)
    last = list(tab.run(BUNNY, 8, "64", "cpu", SMALL, VISITOR))[-1]
    stored = [trace for trace in last[tab.statistics].data if trace.name == "stored"]
    assert [trace.y[0] for trace in stored] == [0.5, 2.0]
    assert last[tab.frame]["maximum"] == 1
    first, second = (tab.frame_chosen(last[tab.view], frame) for frame in (0, 1))
    assert first.tobytes() == last[tab.channels].tobytes() != second.tobytes()
    assert tab.frame_chosen(("gone.safetensors", "clip"), 0) == gr.skip()
    plain = list(tab.run(BUNNY, 8, "64", "cpu", "dct", VISITOR))[-1]
    assert "No statistics are stored" in plain[tab.words]


# Training and About


@pytest.fixture
def run(root: Path) -> Path:
    folder = root / "outputs" / "<b>run"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stage": "ae"}))
    (folder / "metrics.jsonl").write_text('{"step": 5, "nll": 0.5}\n')
    write_clip(folder / "samples" / "step-000005.mp4", 4, 32, 64)
    return folder


@pytest.fixture
def training(root: Path, tmp_path: Path) -> TrainingTab:
    with gr.Blocks():
        return TrainingTab(JobFolders(tmp_path / "jobs"), root)


def test_a_run_is_drawn_anew_only_when_something_is_new(training: TrainingTab, run: Path) -> None:
    name = "outputs/<b>run"
    shown = training.choose(name)
    assert shown[training.config] == {"stage": "ae"}
    assert shown[training.sample]["value"] == "step-000005.mp4"
    assert "<b>run" not in shown[training.words]
    seen = shown[training.seen]
    assert list(training.look_again(name, seen, "step-000005.mp4")) == [training.seen]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "val_psnr": 20.0}\n')
    (run / "samples" / "step-000010.png").write_bytes(b"")
    again = training.look_again(name, seen, "step-000005.mp4")
    assert "20.00 dB at step 10" in again[training.words]
    assert again[training.sample]["value"] == "step-000010.png"


def test_samples_are_shown_as_copies_and_nothing_else_of_the_run(
    training: TrainingTab, run: Path, tmp_path: Path
) -> None:
    shown = training.sample_chosen("outputs/<b>run", "step-000005.mp4", VISITOR)
    copy = Path(shown[training.video]["value"])
    assert copy.is_relative_to(tmp_path / "jobs")
    assert copy.read_bytes() == (run / "samples" / "step-000005.mp4").read_bytes()
    for other in ("../config.json", "step-999999.mp4"):
        refused = training.sample_chosen("outputs/<b>run", other, VISITOR)
        assert "no such sample" in refused[training.words]
    training.left(VISITOR)
    assert not jobs_in(tmp_path)


@pytest.mark.parametrize("name", ["..", "/etc", "outputs/../../x", "outputs/link", "x" * 300, "a\0b"])
def test_runs_outside_the_root_are_refused(root: Path, run: Path, tmp_path: Path, name: str) -> None:
    (root / "outputs" / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="outside the folder"):
        open_run(name, root)


def test_what_is_no_run_is_refused_in_words(training: TrainingTab) -> None:
    shown = training.choose("outputs")
    assert "not a run" in shown[training.words]
    assert not shown[training.timer]["active"]


def test_about_names_what_is_found_and_where_the_rest_goes(root: Path) -> None:
    with gr.Blocks(), gr.Tab("About") as tab:
        table = AboutTab(root, tab).model_table()
    assert f"found: {SMALL}" in table
    assert "not found; wanted: hpcai-tech/Open-Sora-v2/hunyuan_vae.safetensors" in table
    assert str(root) not in table
