"""A running app and a real browser, for tests of the page."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
_NO_WAY_OUT = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
"""A proxy that answers nothing, as on many a company's computer: the app must not need it."""

_LEAVING = ("signal is aborted", "Connection errored out")
"""What Gradio's own script says where a page is left or loaded anew while it waits for an answer."""


@contextmanager
def running_app(temporary: Path, *flags: str) -> Iterator[str]:
    """The address of `python app.py FLAGS` with temporary files under `temporary`: all are gone when it has stopped."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--device", "cpu", *flags]
    environment = os.environ | {"TMPDIR": str(temporary), **_NO_WAY_OUT}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: process.poll() is not None or _answers(address), 180)
        assert process.poll() is None, "the app did not start"
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert not list(temporary.glob("workbench-*")), "temporary files outlive the app"


@contextmanager
def open_browser() -> Iterator[Any]:
    """Chromium by Playwright; the test is skipped, with the reason, where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def visitor_page(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A fresh visitor's page; script errors, and anything that it asks for outside this computer, fail the test."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    page = context.new_page()
    page.set_default_timeout(40_000)
    problems: list[str] = []

    def note(problem: str) -> None:
        if not any(words in problem for words in _LEAVING):
            problems.append(problem)

    page.on("pageerror", lambda error: note(str(error)))
    page.on("console", lambda message: note(message.text) if message.type == "error" else None)
    inside = address, "data:", "blob:"
    page.on("request", lambda request: None if request.url.startswith(inside) else problems.append(request.url))
    page.goto(address)
    page.locator("#shelf .shelf").wait_for(state="attached")
    yield page
    context.close()
    assert not problems, problems


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address).status == 200
    except OSError:
        return False
