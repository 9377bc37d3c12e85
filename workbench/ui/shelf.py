"""The shelf, the player and the table: parts of the page that its scripts fill with what they ask the server for."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import WorkbenchError, worded
from workbench.files import quoted
from workbench.jobs.folders import JobFolders
from workbench.jobs.queue import Job
from workbench.jobs.shelf import Shelf
from workbench.ui import work
from workbench.ui.cards import card_result, card_state
from workbench.ui.labels import LABELS
from workbench.ui.shipped import shipped_cards, shipped_result
from workbench.ui.visitors import visitor_of

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("store", "shelf", "picture", "exact", "view", "curves", "playback", "keys", "player", "table", "drop")
_EXPIRED = "This result is no longer on the server: run it again."


def scripts() -> str:
    """The page's own scripts, for its head: one function, so that they share their names with nobody else."""
    parts = "\n".join((_ASSETS / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    return f"<script>(() => {{\n{parts}\n}})();</script>"


def styles() -> list[Path]:
    """The page's own style sheets."""
    return [_ASSETS / f"{name}.css" for name in ("page", "shelf", "player")]


def part_of_page(name: str, **arguments: Any) -> gr.HTML:
    """A part of the page, from its template; a script of the same name brings it to life.

    Its event `frame` carries the frame at which the player stands still, and the clip's last.
    """
    return gr.HTML(
        None,
        html_template=(_ASSETS / f"{name}.html").read_text("utf-8"),
        js_on_load=f"window.workbench.{name}(element, server, (at) => trigger('frame', at))",
        elem_id=name,
        **arguments,
    )


class ShelfFunctions:
    """What the scripts may ask for; a result is named by a token that only its visitor knows.

    Args:
        bundles: for files of several results, of which a visitor keeps the last.
    """

    def __init__(self, shelf: Shelf, bundles: JobFolders) -> None:
        self._shelf, self._bundles = shelf, bundles

    @property
    def all(self) -> list[Callable[..., dict[str, Any]]]:
        """For `server_functions` of a part of the page."""
        methods = (self.cards, self.result, self.remove, self.frame, self.slice, self.bundle)
        return [_as_function(method) for method in methods]

    def cards(self, _: Any, request: gr.Request) -> dict[str, Any]:
        """What is shipped, then the visitor's own, and how many of these had to go."""
        visitor = visitor_of(request)
        own = [card_state(job, self._shelf.queue.ahead_of(job)) for job in self._shelf.of(visitor)]
        return {"cards": [*shipped_cards(), *own], "gone": self._shelf.gone(visitor)}

    def result(self, asked: dict[str, Any]) -> dict[str, Any]:
        """All of {card}."""
        name = str(asked.get("card"))
        job = self._shelf.find(name)
        return shipped_result(name) or (card_result(job.result) if job and job.result else {"error": _EXPIRED})

    def remove(self, asked: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Take {card} off the shelf, and stop its job."""
        self._shelf.remove(visitor_of(request), str(asked.get("card")))
        return {}

    def frame(self, asked: dict[str, Any]) -> dict[str, str]:
        """{card, index, is_original} to a picture without loss."""
        return self._picture(asked, work.read_frame)

    def slice(self, asked: dict[str, Any]) -> dict[str, str]:
        """The same of a row over time."""
        return self._picture(asked, work.read_slice)

    def bundle(self, asked: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Tables and a report of all of the visitor's results, or {cards} beside each other in one video."""
        visitor, folder = visitor_of(request), self._bundles.new()
        self._bundles.keep(visitor, folder)
        wanted = asked.get("cards")
        jobs = [job for job in self._shelf.of(visitor) if job.result and (wanted is None or job.id in wanted)]
        results = [job.result for job in jobs]
        if not results:
            return {"error": "There is no result of yours yet."}
        try:
            if wanted is None:
                return {name: str(path) for name, path in work.write_tables(results, folder).items()}
            grid = work.write_grid(results, folder)
        except WorkbenchError as error:
            return {"error": _in_words(error, folder, jobs)}
        return {"grid": str(grid)} if grid else {"error": "One video takes results of the same frames, kept exactly."}

    def _picture(self, asked: dict[str, Any], read: Callable) -> dict[str, str]:
        job, index = self._shelf.find(str(asked.get("card"))), asked.get("index")
        if job is None or not isinstance(index, int):
            return {"error": _EXPIRED}
        try:
            found = read(job.folder, index, bool(asked.get("is_original")))
        except WorkbenchError:  # removed in the meantime; frames beyond the end are not asked for
            return {"error": _EXPIRED}
        return {"picture": work.png_url(work.picture(found), compress_level=1)}


def _as_function(method: Callable) -> Callable:
    """Gradio marks what it serves, which a bound method does not let it do."""

    @wraps(method)
    def function(*asked: Any) -> Any:
        return method(*asked)

    return function


def _in_words(error: WorkbenchError, folder: Path, jobs: Sequence[Job]) -> str:
    """An error with labels for settings; the server's folders are those of results, which have names."""
    text = worded(error, LABELS.get).replace(f"{folder}/", "")
    for job in jobs:
        text = text.replace(quoted(job.folder), job.result.label).replace(f"{job.folder}/", "")
    return text
