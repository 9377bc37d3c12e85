"""The page in a real browser: one clip, several models, the shelf, who sees what. Skipped, with the reason, where there
is no browser."""

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from app_page import choose_models, drop, press, run, set_up
from app_server import REPOSITORY, open_browser, running_app, visitor_page, wait_for

AXE = (REPOSITORY / "node_modules" / "axe-core" / "axe.min.js",)
GRADIOS_OWN = ('aria-label="Empty value"',)
"""Marks of elements that are Gradio's and cannot be changed from here."""


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


def job_folders(temporary: Path) -> set[Path]:
    return set(temporary.glob("workbench-*/shelf/*"))


def cards(page):
    """The visitor's own."""
    return page.locator("#shelf .card:not(.shipped)")


def test_one_clip_and_several_models_make_cards_that_are_compared_by_keys(page) -> None:
    set_up(page, "dct", "tiny", max_frames=8)
    run(page, cards=2)
    choose_models(page, "tiny@random")
    run(page, cards=3)
    names = page.locator("#shelf .card.done:not(.shipped) b").all_inner_texts()
    assert names == ["3tiny@random", "2tiny", "1dct"]
    chosen = lambda: tuple(page.locator(f"#player [data-part={side}]").input_value() for side in "ab")  # noqa: E731
    ids = [card.get_attribute("data-card") for card in page.locator("#shelf .card:not(.shipped) .card-face").all()]
    ids.reverse()
    press(page, "2")
    assert chosen() == ("original", ids[1])
    press(page, "Shift+1")
    assert chosen() == (ids[0], ids[1])
    page.locator("#player .tag", has_text="A: dct").wait_for()
    press(page, "e")
    assert chosen() == (ids[1], ids[0])
    press(page, "o", "3")
    assert chosen() == ("original", ids[2])
    press(page, "s")
    assert page.locator("#player .layer:visible").count() == 4
    rows = page.locator("#table tbody tr")
    assert rows.count() >= 3
    assert page.locator("#table thead").inner_text().count("PSNR") == 1
    page.get_by_label("Statistic").select_option("worst")
    with page.expect_download() as download:
        page.locator("#table .notes").get_by_role("link", name="Metrics (CSV)").first.click()
    assert download.value.suggested_filename == "bunny_metrics.csv"
    for name, file in (("Report of all", "report.html"), ("All in one video", "comparison.mp4")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename == file
    choose_models(page, "dct", "tiny")
    run(page, cards=5)
    page.locator("#shelf").get_by_text("The player takes 4 results: dct (1) made room for tiny").wait_for()
    page.locator("#shelf").get_by_role("button", name="Remove tiny@random").click()
    wait_for(lambda: cards(page).count() == 4, 20)


def test_the_first_sight_is_a_shipped_result_to_wipe_and_nothing_is_computed(page, temporary: Path) -> None:
    before = job_folders(temporary)
    page.locator("#player .tag", has_text="A: original").wait_for()
    page.locator("#player .tag", has_text="B: tiny").wait_for()
    page.wait_for_function("[...document.querySelectorAll('#player video')].every((v) => v.readyState >= 2)")
    assert page.locator("#shelf .card.shipped").count() == 2
    assert page.locator("#shelf").inner_text().count("shipped example") == 2
    press(page, "1")
    page.locator("#player .tag", has_text="B: dct").wait_for()
    press(page, "d")
    page.locator("#player").get_by_text("which a shipped result does not have").wait_for()
    assert job_folders(temporary) == before


def test_a_reload_in_mid_job_finds_the_job_the_clip_and_the_results_again(page, temporary: Path) -> None:
    set_up(page, "dct", max_frames=2)
    run(page)
    set_up(page, "dct", max_frames=180, size="720p", example="Bottles")
    page.locator("#run").click()
    page.locator("#shelf .card.running progress").wait_for()
    page.reload()
    page.locator("#shelf .card.running progress").wait_for()
    assert page.locator("#shelf .card.done:not(.shipped)").count() == 1
    page.locator("[aria-label='bottles.mp4']").first.wait_for()
    page.get_by_text(re.compile(r"piece \d+ of|Frame \d+ of")).first.wait_for()
    page.get_by_role("button", name="Cancel dct").click()
    wait_for(lambda: page.locator("#shelf .card.running").count() == 0, 10)
    page.locator("#shelf .card.done:not(.shipped)").wait_for()
    folder = page.locator("#player video").last.get_attribute("src").split("/")[-2]
    wait_for(lambda: page.locator("#shelf .card.done:not(.shipped)").count() == 1, 20)
    wait_for(lambda: folder in {path.name for path in job_folders(temporary)}, 20)


def test_jobs_that_wait_are_told_how_many_come_before(page) -> None:
    set_up(page, "dct", max_frames=180, size="720p", example="Bottles")
    for number in range(2):  # a second click while the first is on its way counts for nothing
        page.locator("#run").click()
        page.get_by_role("button", name="Cancel dct").nth(number).wait_for()
    page.get_by_text("Waiting: 1 job before it").wait_for()
    while page.get_by_role("button", name="Cancel dct").count():
        page.get_by_role("button", name="Cancel dct").first.click()
        page.wait_for_timeout(200)


def test_visitors_see_their_own_results_only(page, browser, address) -> None:
    set_up(page, "dct")
    run(page)
    with visitor_page(browser, address) as other:
        other.locator("#shelf .card.shipped").first.wait_for()  # all cards come with them
        assert cards(other).count() == 0
    with page.context.new_page() as again:  # the same browser
        again.goto(address)
        again.locator("#shelf .card.done:not(.shipped)").wait_for()


def test_a_failed_run_is_a_card_that_says_why_and_others_stay(page, tmp_path: Path) -> None:
    set_up(page, "dct")
    run(page)
    broken = tmp_path / "<b>broken'.mp4"
    broken.write_text("just text")
    drop(page, broken)
    page.locator("#plan").get_by_role("alert").get_by_text("this is text, not a video").wait_for()
    page.locator("#run").click()
    page.locator("#shelf .card.failed").get_by_text("this is text, not a video").wait_for()
    assert page.locator("#shelf .card.done:not(.shipped)").count() == 1
    assert "Traceback" not in page.locator("body").inner_text()
    page.locator("#shelf .card.failed").get_by_role("button", name="Remove").click()
    wait_for(lambda: page.locator("#shelf .card.failed").count() == 0, 20)


def test_a_clip_is_dropped_anywhere_on_the_page(page) -> None:
    page.locator("#clip td.filename").wait_for()
    page.evaluate("""async () => {
        const data = new DataTransfer();
        data.items.add(new File(["just text"], "dropped.mp4"));
        for (const kind of ["dragover", "drop"]) {
            const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
            document.querySelector("#player").dispatchEvent(event);
        }
    }""")
    page.locator("[aria-label='dropped.mp4']").wait_for()
    page.locator("#plan").get_by_role("alert").get_by_text("this is text, not a video").wait_for()


def test_nothing_serious_stands_in_the_way_of_screen_readers(browser, address) -> None:
    axe = next((path for path in AXE if path.is_file()), None)
    if axe is None:
        pytest.skip(f"no axe-core: npm install axe-core brings {AXE[0]}")
    serious = set()
    for scheme in ("light", "dark"):
        with visitor_page(browser, address, color_scheme=scheme) as page:
            page.locator("#player .tag", has_text="B: tiny").wait_for()
            page.locator("#plan").get_by_text("Memory: about").first.wait_for()
            page.add_script_tag(content=axe.read_text(encoding="utf-8"))
            for tab in ("Player", "Tiles", "Latents", "Training", "About"):
                page.get_by_role("tab", name=tab).click()
                page.wait_for_timeout(700)
                for one in page.evaluate("axe.run({ include: ['#title', '#bench'] })")["violations"]:
                    if one["impact"] in ("serious", "critical"):
                        serious |= {(scheme, tab, one["id"], node["html"][:160]) for node in one["nodes"]}
    own = {found for found in serious if not any(known in found[-1] for known in GRADIOS_OWN)}
    assert not own


def test_an_upload_over_the_limit_is_refused(browser, address, tmp_path: Path) -> None:
    page = browser.new_page()  # the browser itself logs the refusal as an error
    page.goto(address)
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_000))
    drop(page, large)
    page.get_by_text(re.compile("exceed the maximum", re.IGNORECASE)).first.wait_for()
    page.close()


def test_the_plan_follows_a_run_of_some_length(page) -> None:
    set_up(page, "dct", max_frames=12, size="256")
    page.locator("#plan").get_by_text("Memory: about").first.wait_for()
    inputs = page.locator("#inputs")
    assert inputs.evaluate("all => all.scrollWidth <= all.clientWidth"), "settings lie beside their column"
    run(page)
    page.get_by_label("Frames at most").fill("24")
    page.locator("#plan").get_by_text(re.compile("Time: about .* as the last run")).wait_for()


def test_the_page_fits_a_phone_in_the_dark(browser, address) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
    with visitor_page(browser, address, **phone) as page:
        set_up(page, "dct")
        run(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        dark, light = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle("
                                    "document.querySelector('#player .controls output')).color]")  # fmt: skip
        assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 150 < sum(map(int, re.findall(r"\d+", light)[:3]))
        assert page.locator("#shelf").bounding_box()["y"] < 400, "the page has moved to the shelf"
        page.locator("#player .stage").scroll_into_view_if_needed()
        box = page.locator("#player .stage").bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + 30)
        wiped = page.get_by_role("slider", name=re.compile("Wipe")).get_attribute("aria-valuenow")
        assert int(wiped) == pytest.approx(25, abs=1)


@pytest.mark.parametrize("path", ["/etc/passwd", str(REPOSITORY / "app.py"), str(REPOSITORY / "workbench" / "cli.py")])
def test_other_files_are_not_served(address, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/gradio_api/file={path}")
