"""The callbacks of the tabs beside Reconstruct, as plain functions."""

import fcntl
import json
from pathlib import Path

import gradio as gr
import pytest
import torch
from clips import write_clip
from safetensors.torch import save_file
from small_models import ARCHITECTURES, small_model
from tab_parts import BUNNY, SMALL, VISITOR, choices, jobs_in, make_tab

from workbench.errors import ConfigError, WorkbenchError
from workbench.jobs.estimate import estimate, memory_of, typed_shape
from workbench.jobs.folders import JobFolders
from workbench.jobs.found_models import find_models, pick, shape_of
from workbench.jobs.runs import run_state
from workbench.jobs.tiles import mode_costs, plan_tiles, seam_job
from workbench.media.reader import probe, read_video
from workbench.models.catalogue import DIFFUSERS_CLASSES
from workbench.models.ref import ModelRef
from workbench.models.registry import build_autoencoder, load_autoencoder
from workbench.models.weights import save_weights
from workbench.steps import Progress, drain
from workbench.ui.about import AboutTab, diffusers_table
from workbench.ui.tiles import TilesTab, seam_table, tile_choices
from workbench.ui.training import TrainingTab, open_run

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


@pytest.mark.parametrize("label", ["video_dc_ae@/etc/passwd", "tiny@../x.pt", "diffusers:../x", "dct@x"])
def test_only_what_is_there_can_be_named(root: Path, label: str) -> None:
    with pytest.raises(WorkbenchError, match=r"no such model|outside the folder"):
        pick([label], root)


def test_untrained_models_and_weights_of_the_hub_can_be_named(root: Path) -> None:
    assert pick(["tiny@random"], root) == [ModelRef("tiny", "random")]
    assert pick(["video_dc_ae@org/repo/file.safetensors"], root)[0].weights == "org/repo/file.safetensors"


def test_weights_that_a_link_leads_to_outside_the_root_are_not_offered(root: Path, tmp_path: Path) -> None:
    (root / "weights" / "small.safetensors").rename(tmp_path / "small.safetensors")
    (root / "weights" / "small.safetensors").symlink_to(tmp_path / "small.safetensors")
    assert SMALL not in find_models(root)


# Tiles


def test_the_published_size_can_be_planned_for_beside_a_small_run(root: Path, tmp_path: Path) -> None:
    labels = make_tab(TilesTab, tmp_path, root)._labels()
    assert {SMALL, "video_dc_ae"} <= set(labels)
    assert len(labels) == len(set(labels))


def test_the_plan_is_the_one_that_the_job_runs_and_its_cost_is_that_of_its_tiles(root: Path, tmp_path: Path) -> None:
    tab = make_tab(TilesTab, tmp_path, root)
    clip = choices(max_frames=12, resolution="128")
    first, *_, modes = tab.plan(5, "video_dc_ae", 64, 8, 0.25, *vars(clip).values())  # without weights
    words = first[tab.words]
    assert modes[tab.modes].count("<tr>") == first[tab.modes].count("<tr>") == 6
    assert first[tab.modes].count("being counted") == 5
    assert "being counted" not in modes[tab.modes]
    chosen = tile_choices(vars(clip).values(), 64, 8, 0.25)
    planned = plan_tiles(chosen, build_autoencoder("dct"))
    assert planned.plans[0].tile_shape == (8, 64, 64)
    assert f"<b>{len(planned.plans[0])} tiles</b> of 8 frames, 64×64" in words
    row = next(row for row in modes[tab.modes].split("<tr>") if ">tiles" in row)
    # 65.8 TFLOP for 32 frames of 256 x 256 in convolutions, / 64, and 1.5 % for the borders of such small tiles.
    assert f"<td>{len(planned.plans[0]) * 1.044:.3g}</td>" in row


def test_the_modes_stand_beside_each_other_with_their_plan_work_and_memory() -> None:
    tiling = tile_choices(vars(choices()).values(), 64, 8, 0.5).tiling
    ae = small_model("video_dc_ae")
    costs = {cost.mode: cost for cost in mode_costs(ae, (12, 128, 128), tiling)}
    assert list(costs) == ["one piece", "tiles", "stages", "frames", "windows"]
    assert costs["one piece"].work == 1
    assert costs["tiles"].work > costs["stages"].work >= 1
    assert costs["tiles"].peak_bytes < costs["one piece"].peak_bytes
    assert any("streamed" in stage for stage in costs["frames"].stages)
    dct = {cost.mode: cost for cost in mode_costs(build_autoencoder("dct"), (12, 128, 128), tiling)}
    assert dct["stages"].work == pytest.approx(1)


def test_the_frame_that_is_drawn_is_the_one_asked_for_or_the_first() -> None:
    ae, frames = build_autoencoder("dct"), read_video(BUNNY, max_frames=8).frames
    for asked, shown in ((0, 0), (5, 5), (10_000, 0)):
        drawn = plan_tiles(choices(resolution=""), ae, asked).frame
        assert torch.equal(drawn, frames[shown])


def test_seams_of_every_mode_are_measured_against_one_piece(root: Path) -> None:
    chosen = choices(max_frames=4, spatial_tile_size=32, tile_overlap_factor=0.0)
    ae = small_model("video_dc_ae")
    seen: list[Progress] = []
    report = drain(seam_job(chosen, ae, ["tiles", "frames"]), seen.append)
    assert {progress.stage for progress in seen} >= {"one piece: encode", "tiles: decode", "frames: decode"}
    whole, tiles, frames = report.rows
    assert tiles.seams.map_HW.shape == (64, 114)
    assert tiles.seams.jumps["width"].ratio > 1.5
    assert whole.largest == 0
    assert frames.largest < 0.01  # a single run of frames is the whole clip
    assert tiles.psnr != whole.psnr == pytest.approx(frames.psnr, abs=1e-4)
    words = seam_table(report)
    assert words.count("<tr>") == 4
    assert "soft bands" in words
    independent = drain(seam_job(chosen, load_autoencoder("dct"), ["tiles"]))
    assert independent.rows[1].largest < 0.01
    assert "no seam" in seam_table(independent)
    assert drain(seam_job(choices(spatial_tile_size=256), ae, ["tiles"])).rows == []


def test_a_mode_that_a_model_cannot_run_in_is_said(root: Path) -> None:
    chosen = choices(max_frames=5, spatial_tile_size=32, temporal_tile_size=5)
    report = drain(seam_job(chosen, small_model("hunyuan_vae"), ["tiles", "windows"]))
    assert [row.way for row in report.rows] == ["one piece", "tiles"]
    assert "windows" in report.refused
    assert "hunyuan_vae has no attention in windows" in seam_table(report)
    for modes, said in ((["windows"], "has no attention in windows"), ([], "take at least one")):
        with pytest.raises(ConfigError, match=said):
            drain(seam_job(chosen, small_model("hunyuan_vae"), modes))


def test_sliders_stop_at_legal_tiles_only(root: Path, tmp_path: Path) -> None:
    tab = make_tab(TilesTab, tmp_path, root)
    for label in ("dct", "hunyuan_vae"):
        side, frames = (choice["slider"] for choice in tab.model_chosen(label, 0, 0))
        ae = build_autoencoder("dct") if label == "dct" else shape_of(tab._entry(label))
        for value in range(frames["minimum"], frames["maximum"] + 1, frames["step"]):
            chosen = choices(temporal_tile_size=value, spatial_tile_size=side["minimum"])
            plan_tiles(chosen, ae)  # refuses what is not legal
        assert (frames["value"] - frames["minimum"]) % frames["step"] == 0


def test_sliders_cut_small_clips_and_what_was_typed_meanwhile_stays(root: Path, tmp_path: Path) -> None:
    tab = make_tab(TilesTab, tmp_path, root)
    side, frames = tab.model_chosen("tiny", 64, 8)
    assert side["slider"]["value"] == 128
    assert (side["was"], frames["was"]) == (64, 8)


def test_a_plan_is_made_only_while_somebody_looks_at_it(root: Path, tmp_path: Path) -> None:
    tab = make_tab(TilesTab, tmp_path, root)
    asked = [0, "dct", 64, 8, 0.25, *vars(choices()).values()]
    assert not list(tab.plan_if_open(False, *asked))
    assert len(list(tab.plan_if_open(True, *asked))) == 6  # the plan, and every way to run the clip


@pytest.mark.parametrize("mode", ["tiles", "stages"])
def test_memory_is_one_number_in_the_plan_and_beside_the_other_modes(mode: str) -> None:
    chosen, entry = choices(mode=mode, max_frames=24), ModelRef("tiny")
    job = estimate(chosen, probe(chosen.path), entry)
    told = sum(memory_of(chosen, entry, job)) + job.frame_bytes
    costs = mode_costs(typed_shape(entry, "cpu"), (24, job.height, job.width), chosen.tiling)
    assert next(cost.peak_bytes for cost in costs if cost.mode == mode) == told


def test_a_model_without_weights_says_so_when_it_should_run(root: Path, tmp_path: Path) -> None:
    tab = make_tab(TilesTab, tmp_path, root)
    last = list(tab.run(VISITOR, ["tiles"], "video_dc_ae", 64, 8, 0.25, *vars(choices()).values()))[-1]
    assert "video_dc_ae needs weights" in last[tab.panel.notice]


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
    with gr.Blocks(), gr.Tab("Training") as tab:
        return TrainingTab(JobFolders(tmp_path / "jobs"), root, tab)


def test_a_run_is_drawn_anew_only_when_something_is_new(training: TrainingTab, run: Path) -> None:
    names = ["outputs/<b>run"]
    assert training.refresh([])["value"] == names
    shown = training.choose(names, 0.0)
    assert shown[training.config] == {"stage": "ae"}
    assert not shown[training.sample]["visible"]
    assert "<b>run" not in shown[training.words]
    seen = shown[training.seen]
    assert list(training.look_again(names, seen, 0, 0.0)) == [training.seen]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "val_psnr": 20.0}\n')
    (run / "samples" / "step-000010.png").write_bytes(b"")
    again = training.look_again(names, seen, 0, 0.0)
    assert "20.00 dB at step 10" in again[training.words]
    assert (again[training.sample]["value"], again[training.sample]["maximum"]) == (1, 1)


def test_several_runs_lie_over_each_other_and_are_smoothed(training: TrainingTab, run: Path, root: Path) -> None:
    other = root / "outputs" / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    (other / "metrics.jsonl").write_text('{"step": 5, "nll": 1.0}\n{"step": 6, "nll": 0.0}\n')
    shown = training.choose(["outputs/<b>run", "outputs/other"], 0.5)
    curves = {trace.name: list(trace.y) for trace in shown[training.curves]["value"].data}
    assert curves["outputs/other: nll"] == pytest.approx([1.0, 1 / 3])  # (0.5 * 0.5 * 1 + 0.5 * 0) / 0.75
    assert len(curves) == 2


@pytest.mark.parametrize(
    ("logged", "saved", "is_held", "state"),
    [
        ({"total": 100.0}, [], True, "running"),
        ({"total": 10.0}, [10], False, "done"),
        ({"total": 100.0}, [10], False, "stopped"),
        ({"total": 100.0}, [5], False, "failed"),
        ({}, [10], False, "done"),
    ],
)
def test_how_a_run_fares_is_told(tmp_path: Path, logged: dict, saved: list[int], is_held: bool, state: str) -> None:
    for step in saved:
        (tmp_path / f"step-{step:06d}").mkdir()
    rows = [{"step": step, "step_s": 2.0, "lr": step * 1e-4} | logged for step in (5, 10)]
    with (tmp_path / ".lock").open("ab") as lock:
        if is_held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        found = run_state(tmp_path, [*rows, {"step": 10, "val_psnr": 20.0}])
    assert found.state == state
    assert found.seconds_left == (180.0 if is_held else None)
    assert (found.lr, found.total) == (pytest.approx(1e-3), logged.get("total"))


def test_samples_are_shown_as_copies_and_nothing_else_of_the_run(
    training: TrainingTab, run: Path, tmp_path: Path
) -> None:
    shown = training.sample_chosen(["outputs/<b>run"], 0, None, VISITOR)
    copy = Path(shown[training.video]["value"])
    assert copy.is_relative_to(tmp_path / "jobs")
    assert copy.read_bytes() == (run / "samples" / "step-000005.mp4").read_bytes()
    again = training.sample_chosen(["outputs/<b>run"], 0, shown[training.shown], VISITOR)
    assert list(again) == [training.shown]
    (run / "samples" / "step-000006.mp4").symlink_to(BUNNY)
    refused = training.sample_chosen(["outputs/<b>run"], 1, None, VISITOR)
    assert "no such sample" in refused[training.words]
    training.left(VISITOR)
    assert not jobs_in(tmp_path)


@pytest.mark.parametrize("name", ["..", "/etc", "outputs/../../x", "outputs/link", "x" * 300, "a\0b"])
def test_runs_outside_the_root_are_refused(root: Path, run: Path, tmp_path: Path, name: str) -> None:
    (root / "outputs" / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="outside the folder"):
        open_run(name, root)


def test_what_is_no_run_is_refused_in_words(training: TrainingTab) -> None:
    shown = training.choose(["outputs"], 0.0)
    assert "not a run" in shown[training.words]
    assert not shown[training.timer]["active"]
    assert "--root of app.py" in training.choose(["/etc"], 0.0)[training.words]


def test_a_tick_of_the_clock_after_the_last_run_was_taken_away_shows_none(training: TrainingTab, run: Path) -> None:
    seen = training.choose(["outputs/<b>run"], 0.0)[training.seen]
    shown = training.look_again([], seen, 0, 0.0)
    assert "Choose a run" in shown[training.words]
    assert not shown[training.timer]["active"]


def test_about_names_what_is_found_and_where_the_rest_goes(root: Path) -> None:
    with gr.Blocks(), gr.Tab("About") as tab:
        table = AboutTab(root, tab).model_table()
    assert f"found: {SMALL}" in table
    assert "not found; wanted: hpcai-tech/Open-Sora-v2/hunyuan_vae.safetensors" in table
    assert str(root) not in table


def test_about_lists_the_classes_of_diffusers() -> None:
    table = diffusers_table()
    for name, spec in DIFFUSERS_CLASSES.items():
        row = next(line for line in table.split("<tr>") if f">{name}<" in line)
        assert all(f">{fact}<" in row for fact in (spec.of, spec.tiles, spec.licence or "not known"))
