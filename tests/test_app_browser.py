"""The Reconstruct tab in a real browser and through its API. Skipped, with the reason, where there is no browser."""

import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from app_server import REPOSITORY, open_browser, running_app, visitor_page, wait_for

from workbench.steps import Progress
from workbench.ui.clip_inputs import EXAMPLES
from workbench.ui.launch import build_app
from workbench.ui.reconstruct import ReconstructTab
from workbench.ui.settings import AppSettings


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(temporary: Path):
    with running_app(temporary, "--max_upload_mb", "1") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    with visitor_page(browser, address) as page:
        yield page


def choose(page, example: str, max_frames: int, size: str = "64") -> None:
    """Pick a shipped clip, how many of its frames and their short side."""
    page.get_by_label("Frames at most").locator("visible=true").fill(str(max_frames))
    box = page.get_by_label("Frame size").locator("visible=true")
    box.fill(size)
    box.press("Enter")
    page.get_by_role("button", name=example).locator("visible=true").click()
    page.get_by_text(re.compile(rf"first {max_frames} of|: {max_frames} frames")).first.wait_for()


def run(page) -> None:
    page.locator("#reconstruct-run").click()
    page.locator("#player .stage").wait_for()


def job_folders(temporary: Path) -> set[Path]:
    return set(temporary.glob("workbench-*/jobs/*"))


def test_cancel_stops_the_job_and_removes_its_files(page, temporary: Path) -> None:
    choose(page, "Bottles", 180, "256")
    before = job_folders(temporary)
    page.locator("#reconstruct-run").click()
    page.locator("#reconstruct-status progress").wait_for()
    assert job_folders(temporary) - before
    page.locator("#reconstruct-cancel").click()
    page.get_by_text("Cancelled").wait_for()
    wait_for(lambda: not job_folders(temporary) - before, 30)
    page.wait_for_timeout(500)
    assert page.locator("#reconstruct-notice").inner_text() == "Cancelled. Nothing was kept."
    choose(page, "Bunny", 2)
    run(page)


def test_closing_the_page_stops_its_job_and_removes_its_upload(page, temporary: Path) -> None:
    choose(page, "Bottles", 180, "256")
    before = job_folders(temporary)
    page.locator("#reconstruct-run").click()
    page.locator("#reconstruct-status progress").wait_for()
    page.close()
    wait_for(lambda: not job_folders(temporary) - before, 30)
    wait_for(lambda: not list(temporary.glob("workbench-*/*/bottles.mp4")), 30)


def test_a_broken_upload_is_refused_in_words(page, tmp_path: Path) -> None:
    broken = tmp_path / "<b>broken'.mp4"
    broken.write_text("just text")
    page.locator("input[type=file]").first.set_input_files(broken)
    page.get_by_role("alert").get_by_text("this is text, not a video").first.wait_for()
    page.locator("#reconstruct-run").click()
    page.locator("#reconstruct-notice").get_by_text("this is text, not a video").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()


def test_an_upload_over_the_limit_is_refused(browser, address, tmp_path: Path) -> None:
    page = browser.new_page()  # the browser itself logs the refusal as an error
    page.goto(address)
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_000))
    page.locator("input[type=file]").first.set_input_files(large)
    page.get_by_text(re.compile("exceed the maximum", re.IGNORECASE)).first.wait_for()
    page.close()


def test_a_full_queue_is_told_in_words(browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio_client import Client, handle_file

    def endless(*_):
        while True:
            time.sleep(0.1)
            yield Progress("encode", 1, 9)

    monkeypatch.setattr(ReconstructTab, "_steps", endless)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    app = build_app(AppSettings(), tmp_path).queue(max_size=1)
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(EXAMPLES)])
    try:
        client = Client(address.rstrip("/"), verbose=False)
        clip = handle_file(str(EXAMPLES / "bunny.mp4"))
        jobs = []
        for number in range(3):  # two that run and one that waits
            jobs.append(client.submit(source=clip, weights=None, api_name="/reconstruct"))
            wait_for(lambda job=jobs[-1], full=number == 2: full or job.outputs(), 30)
        page = browser.new_page()  # the browser itself logs the refusal as an error
        page.goto(address)
        page.locator("#reconstruct-run").click()
        page.locator("#reconstruct-notice").get_by_text("too many are waiting").wait_for()
        assert page.locator("#reconstruct-run").is_visible()
        page.close()
    finally:
        for job in jobs:
            job.cancel()
        app.close()


def test_two_visitors_at_once_get_results_of_their_own(page, browser, address) -> None:
    addresses = []
    with visitor_page(browser, address) as other:
        for visitor in (page, other):
            choose(visitor, "Bunny", 4)
        for visitor in (page, other):
            visitor.locator("#reconstruct-run").click()
        for visitor in (page, other):
            visitor.locator("#player .stage").wait_for()
            addresses.append(visitor.locator("#player [data-part=output]").get_attribute("src"))
    assert addresses[0] != addresses[1]
    assert addresses[0].rsplit("/", 1)[1] == addresses[1].rsplit("/", 1)[1]


def test_the_estimate_follows_a_run_of_some_length(page) -> None:
    choose(page, "Bunny", 12, "256")
    page.locator(".estimate").get_by_text("Memory: about").wait_for()
    run(page)
    page.locator(".estimate").get_by_text("at the pace of the last long run").wait_for()
    assert "12 frames, 455 x 256, 24 fps · Model: tiny" in page.locator("#summary").inner_text()


def test_the_page_fits_a_phone_in_the_dark(browser, address) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
    with visitor_page(browser, address, **phone) as page:
        choose(page, "Bunny", 4)
        run(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        dark, light = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle("
                                    "document.querySelector('#player .hint')).color]")  # fmt: skip
        assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 150 < sum(map(int, re.findall(r"\d+", light)[:3]))
        page.locator("#player .stage").scroll_into_view_if_needed()
        box = page.locator("#player .stage").bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + 30)
        wiped = page.get_by_role("slider", name=re.compile("Wipe")).get_attribute("aria-valuenow")
        assert int(wiped) == pytest.approx(25, abs=1)


def test_the_licences_of_the_examples_are_shown(page) -> None:
    page.get_by_text("Where the example clips come from").click()
    page.get_by_role("link", name="CC BY 3.0").wait_for()


@pytest.mark.parametrize("path", ["/etc/passwd", str(REPOSITORY / "app.py"), str(REPOSITORY / "workbench" / "cli.py")])
def test_other_files_are_not_served(address, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/gradio_api/file={path}")


def test_programs_can_run_the_job_and_leave_nothing(address, temporary: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=tmp_path)
    before = job_folders(temporary)
    for _ in range(2):
        results = client.predict(
            source=handle_file(str(EXAMPLES / "signing.mp4")), model="dct", weights=None, device="cpu",
            max_frames=4, resolution="64", tiled=True,
            tile_side=0, tile_frames=0, overlap=0.25, api_name="/reconstruct",
        )  # fmt: skip
    assert any(str(value).endswith("signing_metrics.csv") for value in results)
    assert len(job_folders(temporary) - before) == 1
    client.close()
    wait_for(lambda: not job_folders(temporary) - before, 60)
    wait_for(lambda: not list(temporary.glob("workbench-*/*/signing.mp4")), 60)
