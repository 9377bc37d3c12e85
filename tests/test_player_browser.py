"""The player with two results in a real browser: every way of comparing, by pointer and by keyboard.

The tests share one page, and each begins by standing still on a frame.
"""

import re
from pathlib import Path

import pytest
from app_page import press, run, set_up
from app_server import open_browser, running_app, visitor_page, wait_for
from PIL import Image

from workbench import Video, reconstruct
from workbench.media.files import EXAMPLES
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.models.registry import load_autoencoder

FRAMES = 12


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory):
    temporary: Path = tmp_path_factory.mktemp("app")
    with running_app(temporary) as address, open_browser() as browser, visitor_page(browser, address) as page:
        set_up(page, "dct", "tiny", max_frames=FRAMES)
        run(page, cards=2)
        yield page


@pytest.fixture
def player(page):
    """The player on frame 0, original and dct by wipe, the whole picture visible, lossless frames loaded."""
    page.get_by_role("slider", name="Frame", exact=True).fill("1")
    page.get_by_role("slider", name="Frame", exact=True).fill("0")
    press(page, "o", "1", "w", "0")
    at_frame(page, 0)
    return page


def at_frame(page, frame: int) -> None:
    page.get_by_text(f"frame {frame} of 0–{FRAMES - 1}").wait_for()
    page.locator("#player .layer:visible canvas").first.wait_for(state="visible")


def values(page) -> dict[str, tuple[int, ...]]:
    """What it says about the pixel: place, original, reconstruction, difference."""
    page.locator("#player .values").get_by_text("difference").wait_for()
    numbers = re.findall(r"[-+]?\d+", page.locator("#player .values").inner_text().replace("−", "-"))
    place, *rest = (tuple(map(int, part)) for part in (numbers[:2], numbers[2:5], numbers[5:8], numbers[8:11]))
    return dict(zip(("place", "original", "output", "difference"), (place, *rest), strict=True))


def box_of(page, number: int) -> dict[str, float]:
    return page.locator("#player .layer").nth(number).bounding_box()


def test_all_clips_play_in_step(player) -> None:
    press(player, "s")
    player.wait_for_function("[...document.querySelectorAll('#player video')].every((v) => v.readyState >= 2)")
    press(player, " ")
    player.wait_for_function("document.querySelector('#player video').currentTime > 0.1")
    press(player, " ")
    player.get_by_role("slider", name="Frame", exact=True).fill("5")
    press(player, ".")
    at_frame(player, 6)
    times = player.evaluate("[...document.querySelectorAll('#player video')].map((v) => v.currentTime * 24)")
    assert times == pytest.approx([6.5] * 3, abs=0.1)


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
    clip_path = player.locator("#player .layer").nth(1).evaluate("(layer) => getComputedStyle(layer).clipPath")
    assert float(re.search(r"([\d.]+)%\)", clip_path)[1]) == pytest.approx(25, abs=0.5)


@pytest.mark.parametrize(("key", "model"), [("1", "dct"), ("2", "tiny")])
def test_pixel_values_are_those_of_the_library(player, key: str, model: str) -> None:
    clip = open_clip(EXAMPLES / "bunny.mp4", ClipPolicy(resolution="64", max_frames=FRAMES))
    result = reconstruct(load_autoencoder(model), Video(clip.read(), clip.fps))
    press(player, key)
    stage = player.locator("#player .stage")
    box = stage.bounding_box()
    for frame, (across, down) in ((0, (0.1, 0.9)), (7, (0.8, 0.3))):
        player.get_by_role("slider", name="Frame", exact=True).fill(str(frame))
        at_frame(player, frame)
        stage.hover(position={"x": box["width"] * across, "y": box["height"] * down})
        player.locator("#player .values").get_by_text(f"{model} ").wait_for()
        shown = values(player)
        x, y = shown["place"]
        assert (x, y) == pytest.approx((across * clip.width, down * clip.height), abs=1)
        assert shown["original"] == tuple(result.original.frames[frame, :, y, x].tolist())
        assert shown["output"] == pytest.approx(tuple(result.output.frames[frame, :, y, x].tolist()), abs=1)
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
    scales = [float(re.search(r"scale\(([\d.]+)\)", one.get_attribute("style"))[1])
              for one in player.locator("#player .content").all()]  # fmt: skip
    assert scales[0] > 2
    assert len(set(scales)) == 1
    assert player.locator("#player .marker").is_visible()
    player.keyboard.press("0")
    assert "scale(1)" in player.locator("#player .content").first.get_attribute("style")


def test_the_wheel_zooms_once_the_picture_has_been_clicked_and_scrolls_before(player) -> None:
    scale = lambda: player.locator("#player .content").first.get_attribute("style")  # noqa: E731
    player.locator("#player .stage").hover()
    player.mouse.wheel(0, -100)
    assert "scale(1)" in scale()
    player.locator("#player .stage").click()
    player.mouse.wheel(0, -100)
    wait_for(lambda: "scale(1.5)" in scale(), 10)


def test_pictures_stand_beside_each_other_and_are_looked_into_alike(player) -> None:
    press(player, "s", "+")
    boxes = [box_of(player, number) for number in range(3)]
    assert len({(round(box["x"]), round(box["y"])) for box in boxes}) == 3
    assert {round(box["width"]) for box in boxes} == {round(boxes[0]["width"])}
    player.mouse.move(boxes[2]["x"] + boxes[2]["width"] / 2, boxes[2]["y"] + boxes[2]["height"] / 2)
    player.locator("#player .values").get_by_text(re.compile("original .*; dct .*; tiny ")).wait_for()


def test_flicker_swaps_by_key_and_by_itself(player) -> None:
    shown = "getComputedStyle(document.querySelectorAll('#player .layer')[1]).visibility"
    press(player, "x")
    first = player.evaluate(shown)
    press(player, "x")
    assert {first, player.evaluate(shown)} == {"visible", "hidden"}
    player.get_by_role("slider", name="Changes a second").fill("8")
    player.wait_for_function(f"{shown} === 'visible'")
    player.wait_for_function(f"{shown} === 'hidden'")


def test_the_difference_is_amplified_as_asked_and_has_a_sign(player) -> None:
    press(player, "d")
    mean = (
        "(channel) => { const c = document.querySelector('#player .heat');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return d.filter((v, i) => i % 4 == channel).reduce((a, b) => a + b) }"
    )
    sums = []
    for gain in ("1", "16"):
        player.get_by_role("slider", name="Amplification").fill(gain)
        player.get_by_text(f"0 to {'255' if gain == '1' else '15.9'} grey levels").wait_for()
        sums.append(player.evaluate(mean, 0))
    assert sums[1] > 2 * sums[0]
    player.get_by_label("signed").check()
    player.get_by_text("B darker to brighter, ±8 grey levels").wait_for()
    red, blue = player.evaluate(mean, 0), player.evaluate(mean, 2)
    press(player, "e")  # A and B exchanged: what was brighter is darker
    words = player.locator("#player .tag", has_text="original − dct")
    words.wait_for()
    assert words.evaluate(
        """tag => { const { left, top, width, height } = tag.getBoundingClientRect();
        const events = tag.style.pointerEvents; tag.style.pointerEvents = "auto";
        const seen = document.elementFromPoint(left + width / 2, top + height / 2) === tag;
        tag.style.pointerEvents = events; return seen; }"""
    ), "nothing covers the words"
    assert (player.evaluate(mean, 0) > player.evaluate(mean, 2)) != (red > blue)
    player.get_by_label("signed").uncheck()
    press(player, " ")  # steps through lossless frames, not through the videos
    player.wait_for_function("Number(document.querySelector('#player [data-part=scrubber]').value) > 2")
    assert player.locator("#player .heat").is_visible()
    press(player, " ")


def test_curves_of_all_results_lead_to_a_frame_by_click_and_by_key(player) -> None:
    assert player.locator("#player .plot path").count() == 2
    curve = player.get_by_role("slider", name=re.compile("PSNR of every frame"))
    curve.scroll_into_view_if_needed()
    curve.click(position={"x": curve.bounding_box()["width"] * 0.5, "y": 20})
    assert curve.get_attribute("aria-valuenow") in ("5", "6")
    curve.press("End")
    curve.press("ArrowLeft")
    at_frame(player, FRAMES - 2)
    assert re.fullmatch(rf"frame {FRAMES - 2}: dct [\d.]+, tiny [\d.]+", curve.get_attribute("aria-valuetext"))
    worst = player.get_by_role("button", name=re.compile("PSNR of tiny: go to the worst frame"))
    worst.click()
    at_frame(player, int(worst.get_attribute("data-frame")))
    press(player, "1", "j")
    at_frame(player, int(player.get_by_role("button", name=re.compile("PSNR of dct")).get_attribute("data-frame")))
    player.get_by_role("button", name="Flicker", exact=True).last.click()
    player.get_by_role("slider", name=re.compile("Flicker of every frame")).wait_for()
    player.get_by_role("button", name="PSNR", exact=True).click()


def test_a_range_is_played_again_and_again(player) -> None:
    player.get_by_role("slider", name="Frame", exact=True).fill("4")
    press(player, "[")
    player.get_by_role("slider", name="Frame", exact=True).fill("7")
    press(player, "]", " ")
    seen = set()
    for _ in range(40):
        seen.add(int(player.get_by_role("slider", name="Frame", exact=True).input_value()))
        player.wait_for_timeout(40)
    press(player, " ", "\\")
    assert seen <= {4, 5, 6, 7, 8}
    assert len(seen) > 2


def test_a_frame_is_saved_at_the_size_of_the_clip(player) -> None:
    with player.expect_download() as download:
        press(player, "p")
    assert download.value.suggested_filename == "bunny_wipe_frame0.png"
    assert Image.open(download.value.path()).size == (114, 64)


def test_keys_are_listed_and_do_nothing_while_one_writes(player) -> None:
    press(player, "?")
    player.get_by_role("dialog").get_by_text("jump to the worst frame").wait_for()
    player.keyboard.press("Escape")
    box = player.get_by_role("combobox", name="Models")
    box.press_sequentially("d")
    assert player.get_by_role("button", name="Wipe", exact=True).get_attribute("aria-pressed") == "true"
    box.fill("")
    box.press("Escape")


def test_a_row_over_time_is_shown_and_leads_to_a_frame(player) -> None:
    player.get_by_text("One row over time").click()
    player.get_by_role("slider", name="Row of the slice").fill("10")
    player.locator("#player .row-line").wait_for(state="visible")
    picture = player.get_by_role("img", name="The row of original over time")
    picture.wait_for()
    player.wait_for_function(
        "[...document.querySelectorAll('#player .slices img')].every((i) => i.naturalHeight === 12)"
    )
    assert player.locator("#player .slices img").count() == 3
    box = picture.bounding_box()
    picture.click(position={"x": 5, "y": box["height"] * 3.5 / FRAMES})
    at_frame(player, 3)
    player.get_by_text("One row over time").click()


def test_the_full_screen_has_the_colours_of_the_page_and_a_margin(player):
    look = """() => {
        const style = getComputedStyle(document.fullscreenElement);
        return [style.backgroundColor, style.paddingLeft, getComputedStyle(document.querySelector('.player')).color];
    }"""
    press(player, "g")
    player.wait_for_function("Boolean(document.fullscreenElement)")
    background, margin, ink = player.evaluate(look)
    press(player, "g")
    player.wait_for_function("!document.fullscreenElement")
    assert margin == "20px"
    lightness = [sum(map(float, re.findall(r"[\d.]+", colour)[:3])) for colour in (background, ink)]
    assert abs(lightness[0] - lightness[1]) > 400  # of 765
