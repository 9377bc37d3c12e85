"""The whole app, in a real browser and through its API. Skipped, with the reason, where there is no browser."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from workbench.ui.reconstruct import EXAMPLES

REPOSITORY = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")


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
    page.locator(".plot-container").first.wait_for()


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
    assert page.locator("#notice").inner_text() == "Cancelled. Nothing was kept."
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
    page.locator("#notice").get_by_text("this is text, not a video").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()


def test_an_upload_over_the_limit_is_refused(page, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_000))
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_text(re.compile("exceed the maximum", re.IGNORECASE)).first.wait_for()


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
        source=handle_file(str(EXAMPLES / "bunny.mp4")), model="dct", weights=None, device="cpu",
        max_frames=4, resolution="64", tiled=True,
        tile_side=0, tile_frames=0, overlap=0.25, api_name="/reconstruct",
    )  # fmt: skip
    assert any(str(value).endswith("bunny_metrics.csv") for value in results)
