"""How long a visitor waits. The figures are printed for a person to judge, so run it alone on a quiet computer:

python -m pytest tests/test_app_speed.py -m slow -s
"""

import time
from pathlib import Path

import pytest
from app_server import open_browser, running_app, visitor_page


@pytest.mark.slow
def test_the_first_page_and_the_first_result_come(tmp_path: Path) -> None:
    with running_app(tmp_path):
        pass  # the start after this one finds everything compiled and in the disk's cache
    with open_browser() as browser:
        begin = time.monotonic()
        with running_app(tmp_path) as address:
            print(f"\npython app.py to an address that answers: {time.monotonic() - begin:.1f} s")
            with visitor_page(browser, address) as page:
                print(f"to a page that can be used: {time.monotonic() - begin:.1f} s")
                _measure_jobs(page)


def _measure_jobs(page) -> None:
    page.get_by_role("button", name="Bunny").locator("visible=true").click()
    page.get_by_text("Memory: about").first.wait_for()  # the estimate is complete
    for which in ("first", "second"):
        print(f"click to the finished reconstruction, {which} time: {_reconstruct(page):.1f} s")


def _reconstruct(page) -> float:
    """Seconds from the click to a player that shows the result."""
    begin = time.monotonic()
    page.locator("#reconstruct-run").click()
    page.locator("#reconstruct-status").wait_for()
    page.locator("#player .stage").wait_for()
    return time.monotonic() - begin
