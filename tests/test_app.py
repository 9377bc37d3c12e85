"""The app's callbacks as plain functions, and its command line."""

import gc
import json
import re
import runpy
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from app_server import wait_for
from media_files import encode, moving_pattern
from small_models import ARCHITECTURES, small_model
from tab_parts import choices, folders_in, jobs_in, make_run, visitor

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError, WeightsError
from workbench.jobs.choices import UNCUT, Choices, allowed_weights
from workbench.jobs.estimate import estimate, memory_of
from workbench.jobs.finish import finish_job
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import CRASHED, Job, JobQueue
from workbench.jobs.reconstruct import DOWNLOADS, reconstruct_job, safe_stem
from workbench.jobs.warm_up import warm_up
from workbench.media.files import EXAMPLES
from workbench.media.image import write_image
from workbench.media.reader import probe, read_video
from workbench.media.writer import VideoWriter
from workbench.metrics.measure import summarise
from workbench.models.coding import decode_pieces
from workbench.models.cost import coding_cost
from workbench.models.plans import decode_plan, encode_plan
from workbench.models.ref import ModelRef
from workbench.models.registry import build_autoencoder, load_autoencoder
from workbench.models.weights import save_weights
from workbench.steps import Progress, drain
from workbench.tile_settings import OWN_TILING
from workbench.ui.cards import card_result, card_state
from workbench.ui.estimate import describe, time_words
from workbench.ui.launch import build_app
from workbench.ui.pieces import progress as progress_words
from workbench.ui.run import RunPanel
from workbench.ui.settings import AppSettings
from workbench.ui.uploads import Uploads
from workbench.ui.visitors import COOKIE, visitor_of

REPOSITORY = Path(__file__).parents[1]
DCT = ModelRef("dct")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunPanel]:
    run = make_run(tmp_path, tmp_path)
    yield run
    run.shelf.queue.close()


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


def described(run: RunPanel, chosen: Choices, label: str = "dct") -> str:
    return list(run.describe([label], *vars(chosen).values()))[-1]


def started(run: RunPanel, chosen: Choices, *labels: str, name: str = "a") -> str:
    """What the page says; jobs have ended by then."""
    said = run.start(visitor(name), list(labels), *vars(chosen).values())
    for job in run.shelf.of(name):
        assert job.ended.wait(60)
    return said


# What a job takes and gives


def test_a_job_writes_the_clips_the_metrics_and_every_download(tmp_path: Path) -> None:
    progress: list[Progress] = []
    job = drain(reconstruct_job(choices(), DCT, load_autoencoder("dct"), tmp_path), progress.append)
    assert read_video(job.pair.output).frames.shape == read_video(job.pair.original).frames.shape == (8, 3, 64, 114)
    assert list(job.downloads) == [name for name in DOWNLOADS if name != "side_by_side"]
    record = json.loads(job.downloads["metrics_json"].read_text())
    assert record["source"] == "bunny.mp4"
    assert str(EXAMPLES) not in json.dumps(record)
    assert record["summary"]["psnr"]["mean"] == pytest.approx(summarise(job.report.metrics)["psnr"].mean)
    assert len(job.downloads["metrics_csv"].read_text().splitlines()) == 9
    page = job.downloads["report"].read_text()
    assert "bunny.mp4, 8 frames, 114 x 64" in page
    worst = summarise(job.report.metrics)["psnr"].worst_frame
    assert worst > 0
    assert page.count(f"{worst}, at {worst / 24:.2f} s") >= 2  # in the table and above the picture
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", page), "the report needs the network"
    assert Progress("measure", 8, 8) in progress
    assert progress[-1] == Progress("write", 0, 1)
    job = drain(finish_job(job, "cpu"))
    assert list(job.downloads) == list(DOWNLOADS)
    assert all(path.stat().st_size for path in job.downloads.values())
    beside = read_video(job.downloads["side_by_side"]).frames
    assert len(beside) == 8
    assert beside.shape[3] >= 2 * 114


def test_warming_up_runs_the_first_model_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = LoadedModel()
    seen: list[Progress] = []
    drain(warm_up(model, "cpu"), seen.append)
    assert {progress.stage for progress in seen} >= {"load", "encode", "decode", "measure", "write"}
    assert model._model is model.load(ModelRef("tiny"), "cpu")
    assert not list(tmp_path.iterdir())


def test_the_estimate_and_the_results_name_the_tiles_that_the_job_runs(tmp_path: Path) -> None:
    chosen = choices(resolution="128", max_frames=24, spatial_tile_size=64, temporal_tile_size=8)
    expected = estimate(chosen, probe(chosen.path), DCT)
    progress: list[Progress] = []
    job = drain(reconstruct_job(chosen, DCT, load_autoencoder("dct"), tmp_path), progress.append)
    totals = {step.stage: step.total for step in progress if step.stage in ("encode", "decode")}
    assert totals == {"encode": expected.encode_tiles, "decode": expected.decode_tiles}
    assert expected.encode_tiles > 1
    assert expected.latent_shape == job.report.latent_shape
    assert (expected.num_frames, expected.height, expected.width) == (24, 128, job.report.width)
    tiles = f"{expected.encode_tiles} of 8 frames, 64 x 64, overlap 25% or more"
    assert job.settings["Tiles"] == tiles
    assert tiles in job.downloads["report"].read_text()


def test_results_name_the_weights_that_were_chosen_without_the_servers_folders(tmp_path: Path) -> None:
    named = ModelRef("tiny", str(tmp_path / "run" / "small.safetensors"), label="tiny@run/small.safetensors")
    job = drain(reconstruct_job(choices(mode=UNCUT), named, small_model("tiny"), tmp_path))
    assert job.settings["Model"] == "tiny@run/small.safetensors"
    assert job.settings["Tiles"] == "none, in one piece"
    assert str(tmp_path) not in job.downloads["report"].read_text()
    assert "Weights" not in drain(reconstruct_job(choices(), DCT, load_autoencoder("dct"), tmp_path)).settings


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
    named = ModelRef("tiny", str(weights), label="tiny@small.safetensors")
    job = drain(reconstruct_job(choices(tmp_path / "clip.mkv", resolution=None), named, ae, tmp_path / "job"))
    job = drain(finish_job(job, "cpu"))
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
    job = drain(reconstruct_job(choices(mode=UNCUT), DCT, load_autoencoder("dct"), tmp_path))
    used = json.loads(job.downloads["metrics_json"].read_text())["used"]
    assert (used["spatial_tile_size"], used["temporal_tile_size"], used["tiles"]) == (None, None, 1)


def test_the_estimate_is_that_of_the_chosen_weights(run: RunPanel, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["video_dc_ae"] | {"latent_channels": 32}
    ae = build_autoencoder("video_dc_ae", architecture)
    save_weights(tmp_path / "small.safetensors", ae.state_dict(), "video_dc_ae", architecture)
    assert "32 channels on 2×2×4" in described(run, choices(), "video_dc_ae@small.safetensors")
    for weights in ("random", "org/repo/file.safetensors"):
        assert "128 channels" in described(run, choices(), f"video_dc_ae@{weights}")
    other = described(run, choices(), "hunyuan_vae@small.safetensors")
    assert "small.safetensors: holds weights of video_dc_ae, not of hunyuan_vae" in other
    (tmp_path / "empty").mkdir()
    empty = described(run, choices(), "video_dc_ae@empty")
    assert "empty: not a checkpoint" in empty
    assert str(tmp_path) not in other + empty


def test_the_memory_of_weights_tile_and_frames_follows_what_is_known_at_once() -> None:
    at_once, counted = describe(choices(resolution="32", max_frames=4), [DCT])
    assert "Memory: being counted" in at_once
    basis, frames = 128 * (4 + 1) * 32 * 32 * 3 * 4, 4 * 32 * 57 * 3
    told = re.search(r"counted: ([\d.]+) MB of weights, ([\d.]+) MB in the model.*Memory: about ([\d.]+) MB", counted)
    weights, inside, total = (float(number) * 1e6 for number in told.groups())
    assert weights == pytest.approx(basis, rel=0.01)  # though no weight file holds them
    cost = coding_cost(load_autoencoder("dct", device="cpu"), (4, 32, 57), OWN_TILING)
    assert inside == pytest.approx(cost.peak_bytes - cost.weight_bytes, abs=0.05e6)  # tenths of a MB are told
    assert total == pytest.approx(weights + inside + 17 * frames, rel=0.05)


def test_a_clip_that_is_streamed_is_never_held_whole_and_a_short_one_is_not_taken_longer() -> None:
    short, medium, long = (estimate(choices(max_frames=frames), probe(choices().path), DCT) for frames in (3, 24, 48))
    assert medium.is_streamed
    assert long.frame_bytes == medium.frame_bytes == 16 * 64 * 114 * 3 * 17
    assert short.frame_bytes == 3 * 64 * 114 * 3 * 17
    assert (short.tile_shape, long.tile_shape) == ((3, 64, 128), (16, 64, 128))
    latents = iter([torch.zeros(1, 128, 6, 2, 4)])
    given = decode_pieces(load_autoencoder("dct", device="cpu"), latents, (24, 64, 114), OWN_TILING)
    assert [frames.shape[2] for frames in given if not isinstance(frames, Progress)] == [16, 8]
    tiny = estimate(choices(max_frames=24), probe(choices().path), ModelRef("tiny"))
    assert tiny.tile_shape[0] == 24  # its decoder takes 8 latents at once, more than there are


@pytest.mark.parametrize("mode", ["stages", "frames", "windows"])
def test_the_plan_of_other_modes_is_the_one_that_runs(tmp_path: Path, mode: str) -> None:
    weights = tmp_path / "small.safetensors"
    save_weights(weights, small_model("video_dc_ae").state_dict(), "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    entry, chosen = ModelRef("video_dc_ae", str(weights)), choices(mode=mode, max_frames=24, temporal_tile_size=8)
    size, ae = (24, 64, 114), small_model("video_dc_ae")
    plans = [plan(ae, size, chosen.tiling) for plan in (encode_plan, decode_plan)]
    expected = [f"{stage.stage.name}: " for plan in plans for stage in plan.stages]
    job = estimate(chosen, probe(chosen.path), entry)
    assert not job.is_streamed
    assert all(map(str.startswith, job.stages, expected))
    assert any("tiles" in words for words in job.stages) == (mode != "windows")
    assert any("streamed" in words for words in job.stages)
    cost = coding_cost(ae, size, chosen.tiling)
    assert sum(memory_of(chosen, entry, job)) == round(cost.peak_bytes)
    page = list(describe(chosen, [entry]))[-1]
    assert "Stage by stage: " in page
    assert "no work twice" not in page


def test_of_the_mode_that_sees_the_memory_first_the_least_is_told() -> None:
    page = list(describe(choices(mode="auto"), [DCT]))[-1]
    assert "Cut no more than the free memory asks for" in page
    assert "Memory: at least about" in page


def test_a_photo_is_reconstructed_as_a_picture(tmp_path: Path) -> None:
    write_image(moving_pattern(1, 40, 56)[0], tmp_path / "photo.png")
    photo = choices(tmp_path / "photo.png", resolution=None)
    job = drain(reconstruct_job(photo, DCT, load_autoencoder("dct"), tmp_path))
    assert job.pair.is_image
    assert job.pair.output.suffix == ".png"
    assert "a photo of 56×40" in next(describe(photo, [DCT]))
    assert job.settings["Clip"] == "photo.png, 56 x 40"
    assert job.times_s is None


def test_file_names_are_escaped_on_the_page_and_harmless_on_disk(tmp_path: Path) -> None:
    path = encode(tmp_path / "=<img src=x onerror=alert(1)>'.mp4", moving_pattern(8))
    estimated = next(describe(choices(path, resolution=None), [DCT]))
    job = drain(reconstruct_job(choices(path, resolution=None), DCT, load_autoencoder("dct"), tmp_path))
    for text in (estimated, job.downloads["report"].read_text()):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
    assert re.fullmatch(r"[\w.-]+", safe_stem(path))


def test_errors_speak_of_the_page_and_not_of_the_server(run: RunPanel, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    message = described(run, choices(broken))
    assert "broken.mp4" in message
    assert "0 bytes" in message
    assert str(tmp_path) not in message
    bad_tile = described(run, choices(spatial_tile_size=100))
    assert "Tile side: 100 is no multiple of 32" in bad_tile
    assert "--model" not in bad_tile
    with pytest.raises(ConfigError, match="drop a clip"):
        choices(None).path  # noqa: B018


# Jobs on the shelf


def test_every_model_becomes_a_card_with_its_result(run: RunPanel) -> None:
    assert started(run, choices(), "dct", "tiny") == ""
    dct, tiny = run.shelf.of("a")
    assert (dct.about["label"], tiny.about["label"]) == ("dct", "tiny")
    shown = card_result(dct.result)
    assert (shown["num_frames"], shown["width"], shown["height"]) == (8, 114, 64)
    assert shown["subject"] == card_result(tiny.result)["subject"]
    psnr = next(metric for metric in shown["metrics"] if metric["name"] == "psnr")
    values = dct.result.report.metrics["psnr"]
    assert psnr["mean"] == pytest.approx(sum(values) / 8)
    assert psnr["median"] == pytest.approx(float(np.median(values)))
    assert psnr["low"] == pytest.approx(float(np.percentile(values, 5)))
    assert psnr["worst"] == pytest.approx(min(values))
    assert psnr["worst_frame"] == values.index(min(values))
    assert psnr["values"] == pytest.approx(values, rel=1e-3)
    flicker = next(metric for metric in shown["metrics"] if metric["name"] == "flicker")
    assert flicker["values"][0] is None
    assert str(EXAMPLES) not in json.dumps(shown)


def test_a_card_says_what_its_job_does_and_the_time_left(queue: JobQueue, tmp_path: Path) -> None:
    said = []

    def steps(folder: Path):
        for done in range(1, 4):
            yield Progress("encode", done, 3)
            said.append(card_state(job, 0)["text"])
        yield Progress("decode", 1, 3)
        said.append(card_state(job, 0)["text"])

    job = Job("a", tmp_path / "job", steps, str, stages=2, about={"label": "x", "clip": "y"})
    assert card_state(job, 2)["text"] == "Waiting: 2 jobs before it"
    assert progress_words(job, 1) == '<div class="status" role="status">Waiting: 1 job before it.</div>'
    queue.submit(job)
    assert job.ended.wait(10)
    assert said[0] == "Encoding: piece 1 of 3"
    assert re.fullmatch("Decoding: piece 1 of 3 · (.* left|nearly done)", said[-1])


def test_a_refused_job_says_why_keeps_other_cards_and_leaves_no_file(run: RunPanel, tmp_path: Path) -> None:
    started(run, choices(), "dct")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    started(run, choices(), "video_dc_ae", "tiny@broken.safetensors")
    dct, without, broken = run.shelf.of("a")
    assert dct.state == "done"
    assert "needs weights" in without.error
    assert "broken.safetensors" in broken.error
    assert str(tmp_path) not in without.error + broken.error
    assert len(jobs_in(tmp_path)) == 1
    outside = started(run, choices(), "tiny@../../etc/passwd")
    assert "outside the folder" in outside
    assert "--root of app.py" in outside
    assert "drop a clip" in started(run, choices(None), "dct")
    assert "choose a model" in started(run, choices())


def test_a_bug_is_told_and_the_queue_goes_on(run: RunPanel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    started(run, choices(max_frames=object()), "dct")
    assert run.shelf.of("a")[0].error == CRASHED
    assert "TypeError" in caplog.text
    assert not jobs_in(tmp_path)
    started(run, choices(), "dct")
    assert run.shelf.of("a")[-1].state == "done"


def endless(folder: Path):
    (folder / "file").write_bytes(b"")
    while True:
        yield Progress("encode", 1, 9)


def test_cancel_stops_a_job_at_once_and_keeps_the_other_cards(run: RunPanel, tmp_path: Path) -> None:
    started(run, choices(), "dct")
    shelf, (done,) = run.shelf, run.shelf.of("a")
    job = shelf.add(lambda folder: Job("a", folder, endless, str, 1))
    waiting = shelf.add(lambda folder: Job("a", folder, endless, str, 1))
    wait_for(lambda: job.progress is not None, 10)
    assert run.shelf.queue.ahead_of(waiting) == 1
    shelf.remove("b", job.id)
    assert job.is_active, "another visitor's"
    for one in (waiting, job):
        shelf.remove("a", one.id)
        assert shelf.of("a")[-1] is not one
        assert one.ended.wait(10)
    assert shelf.of("a") == [done]
    assert jobs_in(tmp_path) == [done.folder]


def test_visitors_have_shelves_of_their_own(run: RunPanel) -> None:
    for name in ("a", "b"):
        started(run, choices(), "dct", name=name)
    (a,), (b,) = run.shelf.of("a"), run.shelf.of("b")
    assert a.folder != b.folder


@pytest.mark.parametrize("limits", [{"most_cards": 2}, {"most_bytes": 2.5}])
def test_the_oldest_results_go_and_it_is_told(tmp_path: Path, limits: dict) -> None:
    run = make_run(tmp_path, tmp_path, **limits)
    small = choices(max_frames=2, resolution="32")
    started(run, small, "dct")
    if "most_bytes" in limits:
        run.shelf._most_bytes *= sum(run.shelf._bytes.values())
    first = run.shelf.of("a")[0]
    for _ in range(3):
        started(run, small, "dct")
    assert len(run.shelf.of("a")) == len(jobs_in(tmp_path)) == 2
    assert first not in run.shelf.of("a")
    assert run.shelf.gone("a") == 2
    run.shelf.queue.close()


def test_a_full_queue_is_told_in_words(run: RunPanel, tmp_path: Path) -> None:
    run.shelf.queue._most_waiting = 1
    for _ in range(2):  # one runs and one waits
        job = run.shelf.add(lambda folder: Job("b", folder, endless, str, 1))
        wait_for(lambda job=job: job.state == "running" or job is run.shelf.of("b")[-1], 10)
        wait_for(lambda: run.shelf.of("b")[0].state == "running", 10)
    said = run.start(visitor("a"), ["dct"], *vars(choices()).values())
    assert "too many jobs: 1 waiting already" in said
    for job in run.shelf.of("b"):
        run.shelf.remove("b", job.id)
        assert job.ended.wait(10)
    assert not jobs_in(tmp_path)


def test_what_betters_a_result_gives_way_to_other_jobs(queue: JobQueue, tmp_path: Path) -> None:
    order, submitted = [], threading.Event()

    def slow(result: str):
        for step in range(3):
            order.append(f"more {step}")
            submitted.wait(10)
            yield Progress("measure", step, 3)
        return result + " better"

    def quick(folder: Path):
        order.append("other")
        yield Progress("encode", 1, 1)

    def first(folder: Path):
        yield Progress("encode", 1, 1)
        return "result"

    job = queue.submit(Job("a", tmp_path / "1", first, str, 1, more=slow))
    wait_for(lambda: "more 0" in order, 10)
    assert (job.state, job.result) == ("done", "result")
    queue.submit(Job("a", tmp_path / "2", quick, str, 1))
    submitted.set()
    wait_for(lambda: job.version == 2, 10)
    assert job.result == "result better"
    assert order.index("other") < order.index("more 1")


def test_the_time_of_the_next_run_is_told_from_the_last_long_one_with_the_model(run: RunPanel) -> None:
    long = choices(max_frames=12, resolution="256")
    for chosen in (choices(), long):  # what a short job takes says little of a long one
        assert "Time:" not in described(run, long)
        started(run, chosen, "dct")
    for frames in (12, 36):
        seconds = run._paces["dct", "cpu"] * frames * 256 * 455
        assert f"Time: about {time_words(seconds)}" in described(run, replace(long, max_frames=frames))
    assert "Time:" not in described(run, long, "tiny")


def test_an_upload_is_removed_when_nobody_uses_it(tmp_path: Path) -> None:
    uploads, outside = Uploads(tmp_path / "gradio"), tmp_path / "x" / "y"
    clips = [tmp_path / "gradio" / name / "clip.mp4" for name in ("one", "two")]
    for path in (*clips, outside):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    for name in ("a", "b"):
        uploads.choose(name, str(clips[0]))
    uploads.use("job 1", str(clips[0]))
    uploads.choose("a", str(clips[0]))  # again, as after a reload
    for name in ("a", "b"):
        uploads.choose(name, str(clips[1]))
        assert clips[0].exists()
    uploads.release("job 1")
    assert not clips[0].parent.exists()
    assert uploads.chosen("a") == str(clips[1])
    for name in ("a", "b"):
        uploads.choose(name, str(outside))
    assert not clips[1].exists()
    uploads.choose("a", None)
    uploads.choose("b", None)
    assert outside.exists()
    assert uploads.chosen("a") is None


def test_the_clips_of_visitors_of_long_ago_go(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    for number in range(40):
        clip = tmp_path / str(number) / "clip.mp4"
        clip.parent.mkdir()
        clip.write_bytes(b"")
        uploads.choose(f"visitor {number}", str(clip))
    assert len(folders_in(tmp_path)) == 16


def test_a_visitor_is_known_by_a_cookie_and_nobody_by_a_wrong_one() -> None:
    def by(cookie: str | None) -> str:
        cookies = {} if cookie is None else {COOKIE: cookie}
        return visitor_of(SimpleNamespace(session_hash="session", request=SimpleNamespace(cookies=cookies)))

    assert by("0123456789abcdef" * 2) == "0123456789abcdef" * 2
    assert by("../../etc") == by(None) == "session"


def test_the_last_model_is_loaded_once_until_its_weights_change(tmp_path: Path) -> None:
    model = LoadedModel()
    assert model.load(DCT, "cpu") is model.load(DCT, "cpu")
    with pytest.raises(ConfigError):
        model.load(ModelRef("dtc"), "cpu")
    with pytest.raises(WeightsError):
        model.load(ModelRef("video_dc_ae", str(tmp_path / "none.safetensors")), "cpu")


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
        build_app(AppSettings(root=str(tmp_path / "missing")), tmp_path, JobQueue())
