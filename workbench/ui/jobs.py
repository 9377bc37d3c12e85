"""Jobs of the app: a folder of their own for each, the clips that visitors brought, and what is loaded."""

import secrets
import shutil
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from workbench.models.base import Autoencoder
from workbench.models.ref import ModelRef
from workbench.ui.components import SILENT

_LAST_JOB, _MOST_SESSIONS = "last job", 16


class JobFolders:
    """One folder a job, under one root that only this process uses. A visitor keeps the results of the last job only.

    A visitor is whoever Gradio gives a session of its own: a browser tab or an API client. Most tell when they leave;
    for the sake of those that do not, only the results of the last few visitors are kept.
    """

    def __init__(self, root: Path, most_visitors: int = 16) -> None:
        self._root, self._most_visitors = root, most_visitors
        self._kept: dict[str | None, Path] = {}
        self._lock = threading.Lock()

    def new(self) -> Path:
        """An empty folder under a name that cannot be guessed."""
        folder = self._root / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

    def find(self, name: str) -> Path | None:
        """The folder of this name; None if there is none (any more), whatever the name."""
        with self._lock:
            return next((folder for folder in self._kept.values() if folder.name == name), None)

    def keep(self, visitor: str | None, folder: Path) -> None:
        """Make `folder` the visitor's last results; remove those before it and those of the visitors of long ago."""
        with self._lock:
            gone = [self._kept.pop(visitor, None)]
            self._kept[visitor] = folder
            while len(self._kept) > self._most_visitors:
                gone.append(self._kept.pop(next(iter(self._kept))))
        for previous in filter(None, gone):
            discard(previous)

    def forget(self, visitor: str | None) -> None:
        """Remove the results of a visitor who has left."""
        with self._lock:
            folder = self._kept.pop(visitor, None)
        if folder is not None:
            discard(folder)


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


def discard(folder: Path) -> None:
    """Remove a folder; files that are gone already are none of our business."""
    shutil.rmtree(folder, ignore_errors=True)


class ModelShelf:
    """The model used last, so that another run does not load it again. Threads may share it: inference is read-only."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._model: Autoencoder | None = None
        self._lock = threading.Lock()

    def load(self, ref: ModelRef, device: str) -> Autoencoder:
        """The model, or the same as last time if its weights have not changed on disk."""
        key = ref, device, _changed_ns(ref.weights)
        with self._lock:
            if key != self._key:
                self._key = self._model = None  # frees the old one before the new one needs its memory
                self._model = ref.load(device)
                self._key = key
            return self._model


def _changed_ns(weights: str | None) -> int | None:
    path = Path(weights) if weights else None
    return path.stat().st_mtime_ns if path and path.exists() else None
