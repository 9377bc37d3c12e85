"""The tabs beside Reconstruct, each on a real clip in a real browser. Skipped, with the reason, where there is none."""

import json
import os
from pathlib import Path

import pytest
from app_page import choose_option, drop, set_up
from app_server import open_browser, running_app, visitor_page, wait_for
from clips import moving_video
from small_models import ARCHITECTURES, small_model

from workbench.media.writer import write_video
from workbench.models.weights import save_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the app may open: one training run, and a model whose tiles take seconds, so that a job can be met."""
    root = tmp_path_factory.mktemp("root")
    run = root / "outputs" / "ours"
    (run / "samples").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"stage": "ae", "lr": 1e-4}))
    rows = [{"step": 5, "nll": 0.3, "l1": 0.2}, {"step": 10, "nll": 0.2, "l1": 0.1}, {"step": 10, "val_psnr": 21.5}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_video(moving_video(4, 32, 64), run / "samples" / "step-000010.mp4")
    state = small_model("hunyuan_vae").state_dict()
    save_weights(root / "slow.safetensors", state, "hunyuan_vae", ARCHITECTURES["hunyuan_vae"])
    return root


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(root: Path, temporary: Path):
    with running_app(temporary, "--root", str(root)) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    with visitor_page(browser, address) as page:
        yield page


def open_tab(page, name: str, max_frames: int = 8, size: str = "128") -> None:
    """Open a tab with few and small frames of the shipped clip."""
    set_up(page, "dct", max_frames=max_frames, size=size)
    page.get_by_role("tab", name=name).click()


def run_job(page, folders: Path, name: str) -> None:
    """Start a job that writes under `folders`, and wait for its end."""
    before, button = set(folders.glob("*")), page.locator(f"#{name}-run")
    button.click()
    wait_for(lambda: set(folders.glob("*")) - before and button.is_visible(), 60)


def test_more_jobs_leave_no_more_files(page, temporary: Path) -> None:
    (served,) = temporary.glob("workbench-*")
    open_tab(page, "Latents", size="64")
    choose_option(page, "Model", "dct")
    counts = []
    for _ in range(4):
        run_job(page, served / "latents", "latents")
        counts.append(len([path for path in (served / "latents").rglob("*") if path.is_file()]))
    assert counts == [1] * 4
    assert not [path for path in served.iterdir() if path.is_file()]  # Gradio's own, at every call with a file


def test_the_tile_plan_follows_the_sliders_and_seams_are_measured(page) -> None:
    open_tab(page, "Tiles")
    page.locator("#tiles-plan img").wait_for()  # at the first opening
    choose_option(page, "Model", "dct")
    side = page.locator("#results").get_by_label("number input for Tile side")
    side.fill("64")  # while the model's own sizes are on their way: they must not take its place
    side.press("Enter")
    words = page.locator("#tiles-words")
    wait_for(lambda: "64×64" in words.inner_text(), 60)
    page.locator("#tiles-modes").get_by_text("this model's own").wait_for()
    assert side.input_value() == "64"
    before = words.inner_text()
    slider = page.locator("#results").get_by_label("number input for Overlap")
    slider.fill("0.5")
    slider.press("Enter")
    wait_for(lambda: words.inner_text() != before, 60)
    page.locator("#tiles-run").click()
    page.locator("#tiles-jumps").get_by_text("leave no seam").wait_for()  # the blocks of dct are independent


def test_latents_are_looked_into_taken_along_and_decoded(page, tmp_path: Path) -> None:
    open_tab(page, "Latents")
    choose_option(page, "Model", "dct")
    page.locator("#latents-run").click()
    page.locator("#latents-pca img").wait_for()
    page.locator(".plot-container").locator("visible=true").first.wait_for()
    assert "128 channels on a grid of 2×4×8" in page.locator("#latents-words").inner_text()
    channels = page.locator("#channels img")
    first = channels.get_attribute("src")
    frame = page.get_by_label("number input for Latent frame")
    frame.fill("1")
    frame.press("Enter")
    wait_for(lambda: channels.get_attribute("src") != first, 60)
    with page.expect_download() as download:
        page.locator("#latents-download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    drop(page, file)
    page.locator(f"[aria-label='{file.name}']").locator("visible=true").first.wait_for()
    page.locator("#latents-run").click()
    page.wait_for_function("document.querySelector('#latents-video video')?.readyState >= 2")


def test_the_latents_of_a_clip_are_probed_and_the_page_taken_along(page, tmp_path: Path) -> None:
    open_tab(page, "Latents")
    choose_option(page, "Model", "dct")
    page.get_by_role("button", name="Will a generator like them?").click()
    page.locator("#probes-run").click()
    page.locator("#probes-table").get_by_text("VIV * sqrt(d)").wait_for()
    page.locator("#probes .plot-container").locator("visible=true").first.wait_for()
    with page.expect_download() as download:
        page.locator("#probes-download").click()
    download.value.save_as(tmp_path / "probes.html")
    assert "white noise" in (tmp_path / "probes.html").read_text()


def test_cancel_stops_the_job_of_a_tab_and_removes_its_files(page, temporary: Path) -> None:
    open_tab(page, "Latents", max_frames=40, size="720p")
    choose_option(page, "Model", "hunyuan_vae@slow.safetensors")
    page.locator("#latents-run").click()
    page.locator("#latents-status progress").wait_for()
    page.locator("#latents-cancel").click()
    page.locator("#latents-notice").get_by_text("Cancelled").wait_for()
    wait_for(lambda: not list(temporary.glob("workbench-*/latents/*/*")), 60)
    page.locator("#latents-run").wait_for()


def test_a_broken_upload_is_refused_in_words(page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Latents").click()
    broken = tmp_path / "broken'<b>.safetensors"
    broken.write_bytes(b"not tensors")
    drop(page, broken)
    page.locator("[aria-label*='broken']").locator("visible=true").first.wait_for()
    page.locator("#latents-run").click()
    page.locator("#latents-notice").get_by_text("not a file of latents").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()


def test_a_run_is_shown_and_followed_while_it_goes_on(page, root: Path) -> None:
    page.get_by_role("tab", name="Training").click()
    page.locator("#training-curves .plot-container").wait_for()
    assert "21.50 dB at step 10" in page.locator("#training-words").inner_text()
    page.wait_for_function("document.querySelector('#training-video video')?.readyState >= 2")
    log = root / "outputs" / "ours" / "metrics.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"step": 15, "val_psnr": 22.0}) + "\n")
    os.utime(log, ns=(log.stat().st_atime_ns, log.stat().st_mtime_ns + 1))
    page.locator("#training-words").get_by_text("22.00 dB at step 15").first.wait_for()
    page.get_by_role("combobox", name="Runs").fill("../elsewhere")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("outside the folder").wait_for()


def test_models_versions_and_licences_are_told(page) -> None:
    page.get_by_role("tab", name="About").click()
    page.locator("#about-models").get_by_text("F32T4C128_AE.safetensors").wait_for()
    assert "torch" in page.locator("#about-versions").inner_text()
    page.get_by_text("CC BY 3.0").wait_for()


def test_the_tabs_fit_a_phone_in_the_dark(browser, address) -> None:
    with visitor_page(browser, address, color_scheme="dark") as page:
        open_tab(page, "Tiles")
        page.locator("#tiles-plan img").wait_for()
        for name in ("Tiles", "Latents", "Training", "About"):
            page.set_viewport_size({"width": 1280, "height": 900})  # narrow pages hide some tabs in a menu
            page.get_by_role("tab", name=name).click()
            page.set_viewport_size({"width": 390, "height": 844})
            page.wait_for_timeout(200)
            wait_for(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390, 10)
        assert page.locator("#results").bounding_box()["width"] >= 360  # of 390: the margins are a phone's
