"""The page as a visitor works with it, for tests in a browser."""

import re

from app_server import wait_for


def set_up(page, *models: str, max_frames: int = 4, size: str = "64", example: str = "Bunny") -> None:
    """Choose a shipped clip, how many of its frames and their short side, and the models in that order."""
    if not page.get_by_label("Frames at most").is_visible():
        page.locator("#details button").first.click()
    page.get_by_label("Frames at most").fill(str(max_frames))
    box = page.get_by_label("Frame size")
    box.fill(size)
    box.press("Enter")
    page.locator(".examples").get_by_role("button", name=example).click()
    choose_models(page, *models)
    page.get_by_text(re.compile(rf"first {max_frames} of|: {max_frames} frames")).first.wait_for()


def drop(page, file) -> None:
    """Bring a clip of one's own, instead of the one that is there."""
    page.locator("#clip td.filename").first.wait_for()
    page.locator("#clip").get_by_role("button", name="Clear").click()
    page.locator("#clip input[type=file]").set_input_files(file)


def choose_models(page, *models: str) -> None:
    tokens, box = page.locator("#models .token"), page.get_by_role("combobox", name="Models")
    if tokens.count():
        page.locator("#models .remove-all").click()
        wait_for(lambda: tokens.count() == 0, 20)
    for model in models:
        box.fill(model)
        box.press("Enter")
        page.locator("#models .token", has_text=model).first.wait_for()
    box.press("Escape")


def run(page, cards: int = 1) -> None:
    """Start what is chosen, and wait until the shelf has so many results of the visitor's own."""
    page.locator("#run").click()
    own = page.locator("#shelf .card:not(.shipped) .card-face")
    wait_for(lambda: own.count() >= cards, 120)
    page.locator("#player .stage").wait_for()


def press(page, *keys: str) -> None:
    """Keys anywhere on the page: the focus is nowhere."""
    page.evaluate("document.activeElement?.blur()")
    for key in keys:
        page.keyboard.press(key)


def choose_option(page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    options = page.get_by_role("option", name=option, exact=True)
    wait_for(lambda: options.count() == 1, 20)  # a list that was open before closes slowly
    options.click()
