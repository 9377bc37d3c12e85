"""How long a visitor waits. The figures are printed for a person to judge, so run it alone on a quiet computer:

python -m pytest tests/test_app_speed.py -m slow -s
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from app_page import choose_models, press
from app_server import open_browser, running_app, visitor_page

_READY = """
() => { const videos = [...document.querySelectorAll("#player video")];
        return videos.length > 1 && videos.every((video) => video.readyState >= 2); }
"""


@pytest.mark.slow
def test_the_first_page_the_first_wipe_and_the_first_result_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    with running_app(tmp_path):
        pass  # the start after this one finds everything compiled, as any but the very first, and in the disk's cache
    with open_browser() as browser:
        begin = time.monotonic()
        with running_app(tmp_path) as address:
            print(f"\npython app.py to an address that answers: {time.monotonic() - begin:.1f} s")
            with visitor_page(browser, address) as page:
                page.locator("#run").wait_for()
                page_s = time.monotonic() - begin
                print(f"to a page that can be used: {page_s:.1f} s")
                page.wait_for_function(_READY)
                print(f"from there to something to wipe: {time.monotonic() - begin - page_s:.1f} s")
                _measure_jobs(page)


def _measure_jobs(page) -> None:
    choose_models(page, "tiny")
    page.locator("#plan").get_by_text("Memory: about").first.wait_for()
    own = page.locator("#shelf .card:not(.shipped) .card-face")
    for number, which in enumerate(("first", "second")):
        took = _seconds(lambda: page.locator("#run").click(), lambda n=number: own.nth(n).wait_for())
        print(f"click to the result of the example with tiny, {which} time: {took:.1f} s")
    page.get_by_role("slider", name="Frame", exact=True).fill("5")  # stands still
    press(page, "1")
    page.wait_for_timeout(2000)
    shown = lambda: page.wait_for_function("document.querySelector('#player [data-part=b]').selectedIndex === 2 && "  # noqa: E731
                                           "!document.querySelectorAll('#player canvas')[2].hidden")  # fmt: skip
    print(f"switch to another result, exact frame shown: {_seconds(lambda: press(page, '2'), shown):.2f} s")


def _seconds(begin: Callable[[], object], end: Callable[[], object]) -> float:
    start = time.monotonic()
    begin()
    end()
    return time.monotonic() - start
