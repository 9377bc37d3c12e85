"""The shelf, the player and the table: parts of the page that its scripts fill with what they ask the server for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.compare.pictures import picture, png_url
from workbench.errors import WorkbenchError
from workbench.jobs.exact import read_frame, read_slice
from workbench.jobs.queue import JobQueue
from workbench.jobs.shelf import Shelf
from workbench.ui.cards import card_result, card_state
from workbench.ui.shipped import shipped_cards, shipped_result
from workbench.ui.visitors import visitor_of

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("store", "shelf", "picture", "exact", "view", "curves", "playback", "keys", "player", "table")
_EXPIRED = "This result is no longer on the server: run it again."


def scripts() -> str:
    """The page's own scripts, for its head: one function, so that they share their names with nobody else."""
    parts = "\n".join((_ASSETS / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    return f"<script>(() => {{\n{parts}\n}})();</script>"


def styles() -> list[Path]:
    """The page's own style sheets."""
    return [_ASSETS / f"{name}.css" for name in ("page", "shelf", "player")]


def part_of_page(name: str, **arguments: Any) -> gr.HTML:
    """A part of the page, from its template; a script of the same name brings it to life."""
    return gr.HTML(
        None,
        html_template=(_ASSETS / f"{name}.html").read_text("utf-8"),
        js_on_load=f"window.workbench.{name}(element, server)",
        elem_id=name,
        **arguments,
    )


def server_functions(shelf: Shelf, queue: JobQueue) -> list[Callable[..., dict[str, Any]]]:
    """What the scripts may ask for; a result is named by a token that only its visitor knows."""

    def cards(_: Any, request: gr.Request) -> dict[str, Any]:
        """What is shipped, then the visitor's own, and how many of these had to go."""
        visitor = visitor_of(request)
        own = [card_state(job, queue.ahead_of(job)) for job in shelf.of(visitor)]
        return {"cards": [*shipped_cards(), *own], "gone": shelf.gone(visitor)}

    def result(asked: dict[str, Any]) -> dict[str, Any]:
        """All of {card}."""
        name = str(asked.get("card"))
        job = shelf.find(name)
        return shipped_result(name) or (card_result(job.result) if job and job.result else {"error": _EXPIRED})

    def remove(asked: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Take {card} off the shelf, and stop its job."""
        shelf.remove(visitor_of(request), str(asked.get("card")))
        return {}

    def frame(asked: dict[str, Any]) -> dict[str, str]:
        """{card, index, is_original} to a picture without loss."""
        return _picture(asked, read_frame)

    def slice_(asked: dict[str, Any]) -> dict[str, str]:
        """The same of a row over time."""
        return _picture(asked, read_slice)

    def _picture(asked: dict[str, Any], read: Callable) -> dict[str, str]:
        job, index = shelf.find(str(asked.get("card"))), asked.get("index")
        if job is None or not isinstance(index, int):
            return {"error": _EXPIRED}
        try:
            found = read(job.folder, index, bool(asked.get("is_original")))
        except WorkbenchError:  # removed in the meantime; frames beyond the end are not asked for
            return {"error": _EXPIRED}
        return {"picture": png_url(picture(found), compress_level=1)}

    slice_.__name__ = "slice"
    return [cards, result, remove, frame, slice_]
