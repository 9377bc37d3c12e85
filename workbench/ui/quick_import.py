"""Gradio imported in three fifths of the time, and without files written beside the code."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def without_stubs() -> Iterator[None]:
    """Import Gradio, and define components, inside this: it writes no type stubs (.pyi), which editors read.

    For each of its 80 classes it would parse the source and render a stub, only to find the file up to date: 1.6 of the
    4.0 s that a processor takes for its import (6.31, five runs each). Beside our own components it would write one. A
    class without a source file it leaves alone, and has no other switch.
    """
    find_file = inspect.getfile

    def getfile(thing: Any) -> str:
        if inspect.isclass(thing) and thing.__module__.startswith(("gradio.", "workbench.")):
            raise OSError("no stub wanted")
        return find_file(thing)

    with patch("inspect.getfile", getfile):
        yield
