"""The app's callbacks as plain functions, its command line, and the whole page in a real browser."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from media_files import encode, moving_pattern

from workbench.errors import ConfigError, MediaError, WeightsError
from workbench.media import probe, read_video, write_image
from workbench.models import load_autoencoder
from workbench.models.tiled import Progress, drain
from workbench.ui import pieces
from workbench.ui.choices import Choices, allowed_weights, find_weights
from workbench.ui.estimate import describe, estimate
from workbench.ui.jobs import JobFolders, ModelShelf, ProgressMeter
from workbench.ui.launch import build_app
from workbench.ui.reconstruct import EXAMPLES, ReconstructTab
from workbench.ui.reconstruct_job import DOWNLOADS, reconstruct_job, safe_stem
from workbench.ui.settings import AppSettings

REPOSITORY = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
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
        return ReconstructTab(JobFolders(tmp_path / "jobs"), ModelShelf(), tmp_path, "cpu")


def run(tab: ReconstructTab, chosen: Choices, name: str = "a"):
    return tab.run(*vars(chosen).values(), visitor(name))


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
    assert progress[-1] == Progress("decode", progress[-1].total, progress[-1].total)


def test_the_estimate_names_the_tiles_that_the_job_then_runs(tmp_path: Path) -> None:
    chosen = choices(resolution="128", max_frames=24, spatial_tile_size=64, temporal_tile_size=8)
    expected = estimate(chosen, probe(chosen.path))
    progress: list[Progress] = []
    job = drain(reconstruct_job(chosen, load_autoencoder("dct"), tmp_path), progress.append)
    totals = {step.stage: step.total for step in progress}
    assert totals == {"encode": expected.encode_tiles, "decode": expected.decode_tiles}
    assert expected.encode_tiles > 1
    assert expected.latent_shape == job.report.latent_shape
    assert (expected.num_frames, expected.height, expected.width) == (24, 128, job.report.width)


def test_a_photo_is_reconstructed_as_a_picture(tmp_path: Path) -> None:
    write_image(moving_pattern(1, 40, 56)[0], tmp_path / "photo.png")
    job = drain(reconstruct_job(choices(tmp_path / "photo.png", resolution=None), load_autoencoder("dct"), tmp_path))
    assert job.pair.is_image
    assert job.pair.output.suffix == ".png"
    assert "a photo of 56×40" in describe(choices(tmp_path / "photo.png", resolution=None))


def test_file_names_are_escaped_on_the_page_and_harmless_on_disk(tmp_path: Path) -> None:
    path = encode(tmp_path / "=<img src=x onerror=alert(1)>'.mp4", moving_pattern(8))
    described = describe(choices(path, resolution=None))
    job = drain(reconstruct_job(choices(path, resolution=None), load_autoencoder("dct"), tmp_path))
    for text in (described, pieces.result(job)):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
    assert re.fullmatch(r"[\w.-]+", safe_stem(path))


def test_errors_speak_of_the_page_and_not_of_the_server(tab: ReconstructTab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    message = tab.describe(*vars(choices(broken)).values())
    assert "broken.mp4" in message
    assert "0 bytes" in message
    assert str(tmp_path) not in message
    bad_tile = tab.describe(*vars(choices(spatial_tile_size=100)).values())
    assert "Tile side: 100 is no multiple of 32" in bad_tile
    assert "--model" not in bad_tile
    with pytest.raises(MediaError, match="drop a clip"):
        choices(None).path  # noqa: B018


def test_time_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = ProgressMeter()
    assert meter.seconds_left is None
    meter.add(Progress("encode", 3, 6))
    assert (meter.done, meter.total) == (3, 12)
    assert meter.seconds_left == pytest.approx(9.0)


# Callbacks


def test_a_run_yields_after_every_tile_and_ends_with_the_results(tab: ReconstructTab, tmp_path: Path) -> None:
    updates = list(run(tab, choices(resolution="128", spatial_tile_size=64)))
    tiles = [update[tab.status] for update in updates if "<progress" in str(update.get(tab.status))]
    assert len(tiles) == 12 * 2
    assert "Tile 24 of 24" in tiles[-1]
    assert updates[-1][tab.player]["num_frames"] == 8
    assert "PSNR" in updates[-1][tab.summary]
    assert len(folders_in(tmp_path / "jobs")) == 1


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
    assert "needs weights" in last[tab.status]["value"]
    assert last[tab.run_button]["visible"]
    assert not folders_in(tmp_path / "jobs")


def test_each_visitor_keeps_the_last_results_only(tab: ReconstructTab, tmp_path: Path) -> None:
    for name in ("a", "b", "a", "a"):
        list(run(tab, choices(), name))
    assert len(folders_in(tmp_path / "jobs")) == 2
    tab.left(visitor("a"))
    assert len(folders_in(tmp_path / "jobs")) == 1


def test_the_last_model_is_loaded_once_until_its_weights_change(tmp_path: Path) -> None:
    shelf = ModelShelf()
    assert shelf.load("dct", None, "cpu") is shelf.load("dct", None, "cpu")
    with pytest.raises(ConfigError):
        shelf.load("dtc", None, "cpu")
    with pytest.raises(WeightsError):
        shelf.load("video_dc_ae", str(tmp_path / "none.safetensors"), "cpu")


@pytest.mark.parametrize("text", ["../outside.pt", "/etc/passwd", "a/../../outside.pt", "link.pt"])
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
        (["--prot", "7000"], 2, "did you mean --port"),
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
    captured = capsys.readouterr()
    assert exit_status == status
    assert said in captured.out + captured.err


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--root"):
        build_app(AppSettings(root=str(tmp_path / "missing")), tmp_path)


# The whole app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """The address of a running app and the folder that its temporary files go to."""
    temporary = tmp_path_factory.mktemp("app")
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--max_upload_mb", "1", "--device", "cpu"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(lambda: process.poll() is not None or _answers(address), 120)
        yield address, temporary
    finally:
        process.terminate()
        process.wait(30)
    assert not list(temporary.glob("workbench-*")), "temporary files outlive the app"


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(server, browser):
    """A fresh visitor's page; whatever it asks for outside this computer, and any script error, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(90_000)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url) if _is_external(request.url, server[0]) else None)
    opened.goto(server[0])
    opened.get_by_role("button", name="Reconstruct").wait_for()
    yield opened
    context.close()
    assert not problems


def _is_external(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address).status == 200
    except OSError:
        return False


def _wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def _choose(page, example: str, max_frames: int) -> None:
    """Pick a shipped clip and how many of its frames."""
    page.get_by_text("Frames, tiles and device").click()
    page.get_by_label("Frames at most").fill(str(max_frames))
    page.get_by_role("button", name=example).click()
    page.get_by_text(re.compile(rf"first {max_frames} of|: {max_frames} frames")).wait_for()


def _job_folders(temporary: Path) -> list[Path]:
    return list(temporary.glob("workbench-*/jobs/*"))


def test_a_shipped_clip_is_reconstructed_and_plays_in_step(page) -> None:
    _choose(page, "Signing", 12)
    page.locator("#run").click()
    page.locator("#player .stage").wait_for()
    assert "PSNR" in page.locator("#summary").inner_text()
    page.wait_for_function("[...document.querySelectorAll('#player video')].every((v) => v.readyState >= 2)")
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    page.get_by_role("slider", name="Frame", exact=True).fill("5")
    page.get_by_role("button", name="One frame forward").click()
    page.get_by_text("frame 6 / 11").wait_for()
    times = page.evaluate("[...document.querySelectorAll('#player video')].map((v) => v.currentTime * 30)")
    assert times == pytest.approx([6.5, 6.5], abs=0.1)
    assert page.locator(".plot-container").count()


def test_the_wipe_works_by_keyboard_and_by_pointer(page) -> None:
    _choose(page, "Bunny", 4)
    page.locator("#run").click()
    handle = page.get_by_role("slider", name=re.compile("Wipe"))
    handle.focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert handle.get_attribute("aria-valuenow") == "58"
    stage = page.locator("#player .stage")
    box = stage.bounding_box()
    stage.click(position={"x": box["width"] * 0.25, "y": box["height"] / 2})
    assert handle.get_attribute("aria-valuetext") == "25% original"
    clip_path = page.locator("#player video.over").evaluate("(video) => getComputedStyle(video).clipPath")
    assert float(re.search(r"([\d.]+)%\)", clip_path)[1]) == pytest.approx(25, abs=0.5)


def test_cancel_stops_the_job_and_removes_its_files(page, server) -> None:
    _choose(page, "Bottles", 180)
    before = set(_job_folders(server[1]))
    page.locator("#run").click()
    page.locator("#status progress").wait_for()
    assert set(_job_folders(server[1])) - before
    page.locator("#cancel").click()
    page.get_by_text("Cancelled").wait_for()
    _wait_for(lambda: not set(_job_folders(server[1])) - before, 20)
    page.wait_for_timeout(500)
    assert page.locator("#status").inner_text() == "Cancelled. Nothing was kept."
    assert page.locator("#run").is_visible()


def test_closing_the_page_stops_its_job(page, server) -> None:
    _choose(page, "Bottles", 180)
    before = set(_job_folders(server[1]))
    page.locator("#run").click()
    page.locator("#status progress").wait_for()
    page.close()
    _wait_for(lambda: not set(_job_folders(server[1])) - before, 20)


def test_a_broken_upload_is_refused_in_words(page, tmp_path: Path) -> None:
    broken = tmp_path / "<b>broken'.mp4"
    broken.write_text("just text")
    page.locator("input[type=file]").set_input_files(broken)
    page.get_by_role("alert").get_by_text("this is text, not a video").first.wait_for()
    page.locator("#run").click()
    page.locator("#status").get_by_text("this is text, not a video").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()


def test_an_upload_over_the_limit_is_refused(page, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_000))
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_text(re.compile("exceeds the maximum", re.IGNORECASE)).first.wait_for()


def test_two_visitors_at_once_get_results_of_their_own(page, browser, server) -> None:
    other = browser.new_page()
    other.goto(server[0])
    _choose(page, "Bunny", 8)
    _choose(other, "Bunny", 8)
    for visitor_page in (page, other):
        visitor_page.locator("#run").click()
    addresses = []
    for visitor_page in (page, other):
        visitor_page.locator("#player .stage").wait_for()
        addresses.append(visitor_page.locator("#player video.over").get_attribute("src"))
    other.close()
    assert addresses[0] != addresses[1]
    assert addresses[0].rsplit("/", 1)[1] == addresses[1].rsplit("/", 1)[1] == "bunny_dct.mp4"


def test_the_page_fits_a_phone(browser, server) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone.goto(server[0])
    _choose(phone, "Bunny", 4)
    phone.locator("#run").click()
    phone.locator("#player .stage").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()


@pytest.mark.parametrize("path", ["/etc/passwd", str(REPOSITORY / "app.py"), str(REPOSITORY / "workbench" / "cli.py")])
def test_other_files_are_not_served(server, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{server[0]}/gradio_api/file={path}")


def test_programs_can_run_the_job_too(server, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(server[0], verbose=False, download_files=tmp_path)
    results = client.predict(
        source=handle_file(str(BUNNY)), model="dct", weights=None, device="cpu", max_frames=4, resolution="64",
        tiled=True, tile_side=0, tile_frames=0, overlap=0.25, api_name="/reconstruct",
    )  # fmt: skip
    assert any(str(value).endswith("bunny_metrics.csv") for value in results)
