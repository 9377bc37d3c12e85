"""The clips that visitors brought."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from workbench.jobs.folders import discard
from workbench.ui.components import SILENT

_LAST_JOB, _MOST_SESSIONS = "last job", 16


class Uploads:
    """The clips that visitors brought; each is removed when all who worked with it have left.

    Gradio gives one path to equal uploads of several visitors. Files outside its folder for uploads are left alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: dict[Hashable, set[Path]] = {}
        self._lock = threading.Lock()

    def watch(self, source: gr.File) -> None:
        """Follow what visitors drop there; before all other listeners, so that a clip belongs to its visitor first."""
        source.change(self._changed, source, None, **SILENT, queue=False)

    def left(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._release(request.session_hash)
        self._release((_LAST_JOB, request.session_hash))

    @contextmanager
    def used(self, clip: str | None, session: str | None) -> Iterator[None]:
        """A job works with the clip. Programs bring theirs without choosing it on the page, often for several jobs in a
        row: a session keeps that of its last job until it leaves, and the last few sessions do in any case.
        """
        job, last = object(), (_LAST_JOB, session)
        self._use(job, clip)
        self._release(last)
        self._use(last, clip)
        kept = [user for user in list(self._used) if isinstance(user, tuple)]
        for user in kept[:-_MOST_SESSIONS]:
            self._release(user)
        try:
            yield
        finally:
            self._release(job)

    def _changed(self, clip: str | None, request: gr.Request) -> None:
        self._use(request.session_hash, clip)

    def _use(self, user: Hashable, clip: str | None) -> None:
        if clip and Path(clip).is_relative_to(self._root):
            with self._lock:
                self._used.setdefault(user, set()).add(Path(clip))

    def _release(self, user: Hashable) -> None:
        with self._lock:
            for clip in self._used.pop(user, set()).difference(*self._used.values()):
                discard(clip.parent)
