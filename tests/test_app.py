"""The app's callbacks as plain functions, and its command line."""

import gc
import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from media_files import encode, moving_pattern
from small_models import ARCHITECTURES, small_model

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError, WeightsError
from workbench.jobs.choices import Choices, allowed_weights, find_weights
from workbench.jobs.estimate import estimate
from workbench.jobs.folders import JobFolders
from workbench.jobs.found_models import cost_of_tile
from workbench.jobs.reconstruct import DOWNLOADS, reconstruct_job, safe_stem
from workbench.jobs.shelf import ModelShelf
from workbench.media.image import write_image
from workbench.media.reader import probe, read_video
from workbench.media.writer import VideoWriter
from workbench.models.ref import ModelRef
from workbench.models.registry import build_autoencoder, load_autoencoder
from workbench.models.weights import save_weights
from workbench.steps import Progress, drain
from workbench.ui import pieces
from workbench.ui.clip_inputs import EXAMPLES
from workbench.ui.estimate import describe, time_words
from workbench.ui.launch import build_app
from workbench.ui.reconstruct import ReconstructTab
from workbench.ui.settings import AppSettings
from workbench.ui.uploads import Uploads

REPOSITORY = Path(__file__).parents[1]
BUNNY = EXAMPLES / "bunny.mp4"


def choices(source: Path | str | None = BUNNY, **changes) -> Choices:
    values = dict(
        source=source and str(source),
        model="dct",
        weights=None,
        device="cpu",
        max_frames=8,
        resolution="64",
        tiled=True,
        spatial_tile_size=0,
        temporal_tile_size=0,
        tile_overlap_factor=0.25,
    )
    return Choices(**values | changes)


def folders_in(root: Path) -> list[Path]:
    return [path for path in root.glob("*") if path.is_dir()]


def visitor(name: str) -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


@pytest.fixture
def tab(tmp_path: Path) -> ReconstructTab:
    import gradio as gr

    with gr.Blocks():
        return ReconstructTab(JobFolders(tmp_path / "jobs"), Uploads(tmp_path), ModelShelf(), tmp_path, "cpu")


def run(tab: ReconstructTab, chosen: Choices, name: str = "a"):
    return tab.run(*vars(chosen).values(), visitor(name))


def described(tab: ReconstructTab, chosen: Choices) -> str:
    return list(tab.describe(*vars(chosen).values()))[-1]


# What a job takes and gives


def test_a_job_writes_the_clips_the_metrics_and_every_download(tmp_path: Path) -> None:
    progress: list[Progress] = []
    job = drain(reconstruct_job(choices(), load_autoencoder("dct"), tmp_path), progress.append)
    assert read_video(job.pair.output).frames.shape == read_video(job.pair.original).frames.shape == (8, 3, 64, 114)
    assert list(job.downloads) == list(DOWNLOADS)
    assert all(path.stat().st_size for path in job.downloads.values())
    record = json.loads(job.downloads["metrics_json"].read_text())
    assert record["source"] == "bunny.mp4"
    assert str(EXAMPLES) not in json.dumps(record)
    assert record["summary"]["psnr"]["mean"] == pytest.approx(job.summary["psnr"].mean)
    assert len(job.downloads["metrics_csv"].read_text().splitlines()) == 9
    page = job.downloads["report"].read_text()
    assert "bunny.mp4, 8 frames, 114 x 64" in page
    worst = job.summary["psnr"].worst_frame
    assert worst > 0
    assert page.count(f"{worst}, at {worst / 24:.2f} s") >= 2  # in the table and above the picture
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", page), "the report needs the network"
    assert Progress("measure", 8, 8) in progress
    assert progress[-1] == Progress("write", 0, 1)


def test_the_estimate_and_the_results_name_the_tiles_that_the_job_runs(tmp_path: Path) -> None:
    chosen = choices(resolution="128", max_frames=24, spatial_tile_size=64, temporal_tile_size=8)
    expected = estimate(chosen, probe(chosen.path))
    progress: list[Progress] = []
    job = drain(reconstruct_job(chosen, load_autoencoder("dct"), tmp_path), progress.append)
    totals = {step.stage: step.total for step in progress if step.stage in ("encode", "decode")}
    assert totals == {"encode": expected.encode_tiles, "decode": expected.decode_tiles}
    assert expected.encode_tiles > 1
    assert expected.latent_shape == job.report.latent_shape
    assert (expected.num_frames, expected.height, expected.width) == (24, 128, job.report.width)
    tiles = f"{expected.encode_tiles} of 8 frames, 64 x 64, overlap 25% or more"
    assert job.settings["Tiles"] == tiles
    for text in (pieces.result(job), job.downloads["report"].read_text()):
        assert tiles in text


def test_results_name_the_weights_that_were_chosen_without_the_servers_folders(tmp_path: Path) -> None:
    chosen = choices(model="tiny", weights="run/small.safetensors", tiled=False)
    job = drain(reconstruct_job(chosen, small_model("tiny"), tmp_path))
    assert job.settings["Weights"] == "run/small.safetensors"
    assert job.settings["Tiles"] == "none, in one piece"
    there = replace(chosen, weights=str(tmp_path / "small.safetensors"))
    assert str(tmp_path) not in pieces.result(drain(reconstruct_job(there, small_model("tiny"), tmp_path)))
    assert "Weights" not in drain(reconstruct_job(choices(), load_autoencoder("dct"), tmp_path)).settings


def test_the_tables_are_those_that_the_command_writes(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.24, 0.5, 0.54]
    with VideoWriter(tmp_path / "clip.mkv", 25.0, lossless=True) as writer:
        writer.write(moving_pattern(6, 32, 32), times)
    weights = tmp_path / "small.safetensors"
    save_weights(weights, small_model("tiny").state_dict(), "tiny", ARCHITECTURES["tiny"])
    chosen = ["--model", "tiny", "--model.from_pretrained", str(weights), "--device", "cpu"]
    files = [str(tmp_path / "clip.mkv"), "--save_dir", str(tmp_path / "out")]
    main("workbench", COMMANDS, ["reconstruct", *files, *chosen])
    ae = load_autoencoder("tiny", weights, "cpu")
    (tmp_path / "job").mkdir()
    job = drain(reconstruct_job(choices(tmp_path / "clip.mkv", resolution=None), ae, tmp_path / "job"))
    table = job.downloads["metrics_csv"].read_text()
    assert "time_s" in table.splitlines()[0]
    assert table == (tmp_path / "out" / "clip" / "metrics.csv").read_text()
    record, expected = (
        json.loads(path.read_text())
        for path in (job.downloads["metrics_json"], tmp_path / "out" / "clip" / "metrics.json")
    )
    assert expected["used"]["weights"] == str(weights.resolve())
    assert record["used"] == expected["used"] | {"weights": "small.safetensors"}
    assert str(tmp_path) not in json.dumps(record)


def test_the_record_of_a_clip_in_one_piece_names_no_tile_size(tmp_path: Path) -> None:
    job = drain(reconstruct_job(choices(tiled=False), load_autoencoder("dct"), tmp_path))
    used = json.loads(job.downloads["metrics_json"].read_text())["used"]
    assert (used["spatial_tile_size"], used["temporal_tile_size"], used["tiles"]) == (None, None, 1)


def test_the_estimate_is_that_of_the_chosen_weights(tab: ReconstructTab, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["video_dc_ae"] | {"latent_channels": 32}
    ae = build_autoencoder("video_dc_ae", architecture)
    save_weights(tmp_path / "small.safetensors", ae.state_dict(), "video_dc_ae", architecture)
    small = choices(model="video_dc_ae", weights="small.safetensors")
    assert "32 channels on a grid of 2×2×4" in described(tab, small)
    for weights in (None, "random", "org/repo/file.safetensors", "not_there.safetensors"):
        assert "128 channels" in described(tab, replace(small, weights=weights))
    other = described(tab, replace(small, model="hunyuan_vae"))
    assert "small.safetensors: holds weights of video_dc_ae, not of hunyuan_vae" in other
    (tmp_path / "empty").mkdir()
    empty = described(tab, replace(small, weights="empty"))
    assert "empty: not a checkpoint" in empty
    assert str(tmp_path) not in other + empty


def test_the_memory_of_weights_tile_and_frames_follows_what_is_known_at_once() -> None:
    at_once, counted = describe(choices(resolution="32", max_frames=4))
    assert "Memory: being counted" in at_once
    basis, frames = 128 * (4 + 1) * 32 * 32 * 3 * 4, 4 * 32 * 57 * 3
    told = re.search(r"Memory: about ([\d.]+) MB, counted: ([\d.]+) MB of weights, ([\d.]+) MB in the model", counted)
    total, weights, inside = (float(number) * 1e6 for number in told.groups())
    assert weights == pytest.approx(basis, rel=0.01)  # though no weight file holds them
    tile = cost_of_tile(ModelRef("dct"), "cpu", (4, 32, 64))
    assert inside == pytest.approx(tile.work_bytes, rel=0.01)
    assert total == pytest.approx(weights + inside + 17 * frames, rel=0.05)


def test_a_photo_is_reconstructed_as_a_picture(tmp_path: Path) -> None:
    write_image(moving_pattern(1, 40, 56)[0], tmp_path / "photo.png")
    job = drain(reconstruct_job(choices(tmp_path / "photo.png", resolution=None), load_autoencoder("dct"), tmp_path))
    assert job.pair.is_image
    assert job.pair.output.suffix == ".png"
    assert "a photo of 56×40" in next(describe(choices(tmp_path / "photo.png", resolution=None)))
    assert job.settings["Clip"] == "photo.png, 56 x 40"
    assert "videos" not in pieces.result(job)
    assert job.times_s is None


def test_file_names_are_escaped_on_the_page_and_harmless_on_disk(tmp_path: Path) -> None:
    path = encode(tmp_path / "=<img src=x onerror=alert(1)>'.mp4", moving_pattern(8))
    estimated = next(describe(choices(path, resolution=None)))
    job = drain(reconstruct_job(choices(path, resolution=None), load_autoencoder("dct"), tmp_path))
    for text in (estimated, pieces.result(job), job.downloads["report"].read_text()):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
    assert re.fullmatch(r"[\w.-]+", safe_stem(path))


def test_errors_speak_of_the_page_and_not_of_the_server(tab: ReconstructTab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    message = described(tab, choices(broken))
    assert "broken.mp4" in message
    assert "0 bytes" in message
    assert str(tmp_path) not in message
    bad_tile = described(tab, choices(spatial_tile_size=100))
    assert "Tile side: 100 is no multiple of 32" in bad_tile
    assert "--model" not in bad_tile
    with pytest.raises(ConfigError, match="drop a clip"):
        choices(None).path  # noqa: B018


# Callbacks


def test_a_run_yields_after_every_tile_and_ends_with_the_results(tab: ReconstructTab, tmp_path: Path) -> None:
    updates = list(run(tab, choices(resolution="128", spatial_tile_size=64)))
    tiles = [update[tab.panel.status] for update in updates if "<progress" in str(update.get(tab.panel.status))]
    assert len(tiles) == 2 * 4 * 2 + 2
    assert "Tile 1 of 8 (encode), the time left is told while it decodes" in tiles[0]
    assert all(re.search("about .* left|nearly done", tile) for tile in tiles if "(encode)" not in tile)
    assert "Frame 8 of 8 measured and written" in tiles[-2]
    assert "Writing the results" in tiles[-1]
    assert updates[-1][tab.player]["num_frames"] == 8
    assert [curve["label"] for curve in updates[-1][tab.player]["curves"]][:2] == ["PSNR", "SSIM"]
    assert "PSNR" in updates[-1][tab.summary]
    assert len(folders_in(tmp_path / "jobs")) == 1


def test_the_time_of_the_next_run_is_told_from_the_last_long_one_with_the_model(tab: ReconstructTab) -> None:
    long = choices(max_frames=12, resolution="256")
    for chosen in (choices(), long):  # what a short job takes says little of a long one
        assert "Time: told while it decodes" in described(tab, long)
        list(run(tab, chosen))
    for frames in (12, 36):
        seconds = tab._paces["dct", None, "cpu"] * frames * 256 * 455
        told = described(tab, replace(long, max_frames=frames))
        assert f"Time: about {time_words(seconds)} at the pace" in told
    assert "Time: told while it decodes" in described(tab, replace(long, model="tiny"))


def test_closing_a_run_leaves_no_file_and_the_next_job_works(tab: ReconstructTab, tmp_path: Path) -> None:
    steps = run(tab, choices(resolution="128", spatial_tile_size=64))
    for _ in range(4):
        next(steps)
    assert folders_in(tmp_path / "jobs")
    steps.close()
    assert not folders_in(tmp_path / "jobs")
    assert tab.player in list(run(tab, choices()))[-1]


def test_a_refused_job_says_why_and_leaves_no_file(tab: ReconstructTab, tmp_path: Path) -> None:
    last = list(run(tab, choices(model="video_dc_ae")))[-1]
    assert "needs weights" in last[tab.panel.notice]
    assert last[tab.panel.run_button]["visible"]
    assert not folders_in(tmp_path / "jobs")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    message = list(run(tab, choices(model="tiny", weights="broken.safetensors")))[-1][tab.panel.notice]
    assert "broken.safetensors" in message
    assert str(tmp_path) not in message


def test_a_bug_leaves_a_page_that_can_go_on(tab: ReconstructTab, tmp_path: Path) -> None:
    steps = run(tab, choices(max_frames=object()))
    assert next(steps) == {tab.panel.status: pieces.PREPARING}
    last = next(steps)
    assert last[tab.panel.notice] == pieces.CRASHED
    assert last[tab.panel.run_button]["visible"]
    with pytest.raises(TypeError):
        next(steps)
    assert not folders_in(tmp_path / "jobs")


def test_each_visitor_keeps_the_last_results_only(tab: ReconstructTab, tmp_path: Path) -> None:
    for name in ("a", "b", "a", "a"):
        list(run(tab, choices(), name))
    assert len(folders_in(tmp_path / "jobs")) == 2
    tab.panel.left(visitor("a"))
    assert len(folders_in(tmp_path / "jobs")) == 1


def test_results_of_visitors_who_never_leave_do_not_pile_up(tmp_path: Path) -> None:
    folders = JobFolders(tmp_path / "jobs", most_visitors=3)
    for number in range(50):
        folders.keep(f"program {number}", folders.new())
    assert len(folders_in(tmp_path / "jobs")) == 3
    last = folders.new()
    folders.keep("program 49", last)
    assert folders.find(last.name) == last
    assert folders.find("..") is None


def test_an_upload_is_removed_when_the_last_who_uses_it_has_left(tmp_path: Path) -> None:
    uploads, clip, outside = (
        Uploads(tmp_path / "gradio"),
        tmp_path / "gradio" / "ab12" / "clip.mp4",
        tmp_path / "x" / "y",
    )
    for path in (clip, outside):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    for name in ("a", "b"):
        uploads._changed(str(clip), visitor(name))
        uploads._changed(str(outside), visitor(name))
    uploads.left(visitor("a"))
    with uploads.used(str(clip), "b"):
        uploads.left(visitor("b"))
        assert clip.exists()
    assert not clip.parent.exists()
    assert outside.exists()


def test_a_session_keeps_the_clip_of_its_last_job_until_it_leaves(tmp_path: Path) -> None:
    uploads, clips = Uploads(tmp_path), [tmp_path / str(number) / "clip.mp4" for number in range(2)]
    for clip in clips:
        clip.parent.mkdir()
        clip.write_bytes(b"")
        for _ in range(2):
            with uploads.used(str(clip), "program"):
                assert clip.exists()
    assert [clip.exists() for clip in clips] == [False, True]
    uploads.left(visitor("program"))
    assert not clips[1].exists()


@pytest.mark.parametrize("jobs", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_the_disk_is_as_full_after_many_jobs_as_after_one(tab: ReconstructTab, tmp_path: Path, jobs: int) -> None:
    small = choices(max_frames=2, resolution="32")
    used = []
    for _ in range(jobs):
        upload = tmp_path / f"upload{len(used)}" / "clip.mp4"
        upload.parent.mkdir()
        upload.write_bytes(BUNNY.read_bytes())
        list(run(tab, replace(small, source=str(upload))))
        used.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))
    assert used[-1] == pytest.approx(used[0], rel=0.01)
    tab._uploads.left(visitor("a"))
    assert not list(tmp_path.glob("upload*"))


def test_the_last_model_is_loaded_once_until_its_weights_change(tmp_path: Path) -> None:
    shelf = ModelShelf()
    assert shelf.load(ModelRef("dct"), "cpu") is shelf.load(ModelRef("dct"), "cpu")
    with pytest.raises(ConfigError):
        shelf.load(ModelRef("dtc"), "cpu")
    with pytest.raises(WeightsError):
        shelf.load(ModelRef("video_dc_ae", str(tmp_path / "none.safetensors")), "cpu")


@pytest.mark.parametrize("text", ["../outside.pt", "/etc/passwd", "a/../../outside.pt", "link.pt", "x" * 3000, "a\0b"])
def test_weights_outside_the_root_are_refused(tmp_path: Path, text: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.pt").write_bytes(b"secret")
    (root / "link.pt").symlink_to(tmp_path / "outside.pt")
    with pytest.raises(WeightsError, match="outside the folder"):
        allowed_weights(text, root)


def test_weights_under_the_root_and_on_the_hub_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root" / "run").mkdir(parents=True)
    weights = tmp_path / "root" / "run" / "model.safetensors"
    weights.write_bytes(b"")
    assert allowed_weights("run/model.safetensors", tmp_path / "root") == str(weights)
    assert find_weights(tmp_path / "root") == ["run/model.safetensors"]
    assert allowed_weights("org/repo/model.safetensors", tmp_path / "root") == "org/repo/model.safetensors"
    (tmp_path / "org" / "repo").mkdir(parents=True)
    (tmp_path / "org" / "repo" / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)  # the same name now is a file outside the root
    with pytest.raises(WeightsError, match="outside the folder"):
        allowed_weights("org/repo/model.safetensors", tmp_path / "root")


# Command line


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "--max_upload_mb int"),
        (["--max_upload", "5"], 2, "did you mean --max_upload_mb"),
        (["--port"], 2, "--port needs a value"),
        (["--port", "abc"], 2, "--port"),
        (["--port", "70000"], 2, "out of range"),
        (["--max_upload_mb", "0"], 2, "out of range"),
        (["clip.mp4"], 2, "unexpected argument"),
    ],
)
def test_the_command_line_is_strict(arguments, status, said, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    try:
        runpy.run_path(str(REPOSITORY / "app.py"), run_name="__main__")
        exit_status = 0
    except SystemExit as stop:
        exit_status = stop.code
    finally:
        gc.enable()  # the app itself does it when it serves its page
    captured = capsys.readouterr()
    assert exit_status == status
    assert said in captured.out + captured.err


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`root`"):
        build_app(AppSettings(root=str(tmp_path / "missing")), tmp_path)
