"""The player after one job in a real browser: every way of comparing, by pointer and by keyboard.

The tests share the page of one finished job, and each begins by standing still on a frame.
"""

import re
from pathlib import Path

import pytest
from app_server import open_browser, running_app, visitor_page
from test_app_browser import choose, run

from workbench import Video, reconstruct
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.models.registry import load_autoencoder
from workbench.ui.clip_inputs import EXAMPLES

FRAMES = 12


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory):
    temporary: Path = tmp_path_factory.mktemp("app")
    with running_app(temporary) as address, open_browser() as browser, visitor_page(browser, address) as page:
        page.get_by_label("Model").locator("visible=true").first.click()
        page.get_by_role("option", name="dct", exact=True).click()
        choose(page, "Bunny", FRAMES)
        run(page)
        yield page


@pytest.fixture
def player(page):
    """The player on frame 0, by wipe, the whole picture visible, its lossless frame loaded."""
    page.get_by_role("slider", name="Frame", exact=True).fill("1")
    page.get_by_role("slider", name="Frame", exact=True).fill("0")
    page.get_by_role("button", name="Wipe", exact=True).click()
    page.get_by_role("button", name="Fit to the frame").click()
    at_frame(page, 0)
    return page


def at_frame(page, frame: int) -> None:
    page.get_by_text(f"frame {frame} / {FRAMES - 1}").wait_for()
    page.locator("#player [data-part=original-exact]").wait_for(state="visible")


def values(page) -> dict[str, tuple[int, ...]]:
    """What it says about the pixel: place, original, reconstruction, difference."""
    page.locator("#player .values").get_by_text("difference").wait_for()
    numbers = re.findall(r"[-+]?\d+", page.locator("#player .values").inner_text().replace("−", "-"))
    place, *rest = (tuple(map(int, part)) for part in (numbers[:2], numbers[2:5], numbers[5:8], numbers[8:11]))
    return dict(zip(("place", "original", "output", "difference"), (place, *rest), strict=True))


def test_both_clips_play_in_step(player) -> None:
    player.wait_for_function("[...document.querySelectorAll('#player video')].every((v) => v.readyState >= 2)")
    player.get_by_role("button", name="Play").click()
    player.wait_for_function("document.querySelector('#player video').currentTime > 0.1")
    player.get_by_role("button", name="Pause").click()
    player.get_by_role("slider", name="Frame", exact=True).fill("5")
    player.get_by_role("button", name="One frame forward").click()
    at_frame(player, 6)
    times = player.evaluate("[...document.querySelectorAll('#player video')].map((v) => v.currentTime * 24)")
    assert times == pytest.approx([6.5, 6.5], abs=0.1)


def test_the_wipe_works_by_keyboard_and_by_pointer(player) -> None:
    handle = player.get_by_role("slider", name=re.compile("Wipe"))
    stage = player.locator("#player .stage")
    box = stage.bounding_box()
    stage.click(position={"x": box["width"] * 0.5, "y": box["height"] / 3})
    handle.focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowRight"):
        player.keyboard.press(key)
    assert handle.get_attribute("aria-valuenow") == "58"
    stage.click(position={"x": box["width"] * 0.25, "y": box["height"] / 3})
    assert handle.get_attribute("aria-valuetext") == "25% original"
    clip_path = player.locator("#player .over").evaluate("(over) => getComputedStyle(over).clipPath")
    assert float(re.search(r"([\d.]+)%\)", clip_path)[1]) == pytest.approx(25, abs=0.5)


def test_pixel_values_are_those_of_the_library(player) -> None:
    clip = open_clip(EXAMPLES / "bunny.mp4", ClipPolicy(resolution="64", max_frames=FRAMES))
    result = reconstruct(load_autoencoder("dct"), Video(clip.read(), clip.fps))
    stage = player.locator("#player .stage")
    box = stage.bounding_box()
    for frame, (across, down) in ((0, (0.1, 0.9)), (7, (0.8, 0.3))):
        player.get_by_role("slider", name="Frame", exact=True).fill(str(frame))
        at_frame(player, frame)
        stage.hover(position={"x": box["width"] * across, "y": box["height"] * down})
        shown = values(player)
        x, y = shown["place"]
        assert (x, y) == pytest.approx((across * clip.width, down * clip.height), abs=1)
        assert shown["original"] == tuple(result.original.frames[frame, :, y, x].tolist())
        assert shown["output"] == tuple(result.output.frames[frame, :, y, x].tolist())
        steps = zip(shown["output"], shown["original"], strict=True)
        assert shown["difference"] == tuple(after - before for after, before in steps)


def test_one_zooms_and_finds_pixels_by_keyboard(player) -> None:
    stage = player.locator("#player .stage")
    stage.focus()
    for key in ("+", "+", "ArrowRight", "Shift+ArrowDown"):
        player.keyboard.press(key)
    before = values(player)["place"]
    player.keyboard.press("ArrowLeft")
    assert values(player)["place"] == (before[0] - 1, before[1])
    assert float(re.search(r"scale\(([\d.]+)\)", player.locator("#player .content").get_attribute("style"))[1]) > 2
    assert player.locator("#player .marker").is_visible()
    player.keyboard.press("0")
    assert "scale(1)" in player.locator("#player .content").get_attribute("style")


def test_flicker_swaps_by_key_and_by_itself(player) -> None:
    shown = "getComputedStyle(document.querySelector('#player .over')).visibility"
    player.locator("#player .stage").focus()
    player.keyboard.press("x")
    first = player.evaluate(shown)
    player.keyboard.press("x")
    assert {first, player.evaluate(shown)} == {"visible", "hidden"}
    player.get_by_role("slider", name="Changes a second").fill("8")
    player.wait_for_function(f"{shown} === 'visible'")
    player.wait_for_function(f"{shown} === 'hidden'")


def test_the_difference_is_amplified_as_asked(player) -> None:
    player.get_by_role("button", name="Difference", exact=True).click()
    bright = (
        "() => { const c = document.querySelector('#player [data-part=heat]');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 0)"
        ".reduce((a, b) => a + b) }"
    )
    sums = []
    for gain in ("1", "16"):
        player.get_by_role("slider", name="Amplification").fill(gain)
        player.get_by_text(f"0 to {'255' if gain == '1' else '15.9'} grey levels").wait_for()
        sums.append(player.evaluate(bright))
    assert sums[1] > 2 * sums[0]
    player.get_by_role("button", name="Play").click()  # steps through lossless frames, not through the videos
    player.wait_for_function("Number(document.querySelector('#player [data-part=scrubber]').value) > 2")
    assert player.locator("#player [data-part=heat]").is_visible()
    player.get_by_role("button", name="Pause").click()


def test_a_curve_leads_to_a_frame_by_click_and_by_key(player) -> None:
    curve = player.get_by_role("slider", name=re.compile("PSNR of every frame"))
    curve.scroll_into_view_if_needed()
    curve.click(position={"x": curve.bounding_box()["width"] * 0.5, "y": 20})
    assert curve.get_attribute("aria-valuenow") in ("5", "6")
    curve.press("End")
    curve.press("ArrowLeft")
    at_frame(player, FRAMES - 2)
    assert re.fullmatch(rf"frame {FRAMES - 2}: [\d.]+ dB", curve.get_attribute("aria-valuetext"))
    worst = player.get_by_role("button", name=re.compile("PSNR: go to the worst frame"))
    worst.click()
    at_frame(player, int(worst.get_attribute("data-frame")))


def test_a_row_over_time_is_shown_and_leads_to_a_frame(player) -> None:
    player.get_by_text("One row over time").click()
    player.get_by_role("slider", name="Row of the slice").fill("10")
    player.locator("#player [data-part=row-line]").wait_for(state="visible")
    picture = player.get_by_role("img", name="The row of the original over time")
    picture.wait_for()
    player.wait_for_function("document.querySelector('#player [data-part=output-slice]').naturalHeight === 12")
    box = picture.bounding_box()
    picture.click(position={"x": 5, "y": box["height"] * 3.5 / FRAMES})
    at_frame(player, 3)
    player.get_by_text("One row over time").click()
