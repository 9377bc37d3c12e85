"""Jobs of the app: a folder of their own for each, progress with the time left, and what is loaded."""

import secrets
import shutil
import threading
import time
from pathlib import Path

from workbench.models import load_autoencoder
from workbench.models.base import Autoencoder
from workbench.steps import Progress


class JobFolders:
    """One folder a job, under one root that only this process uses. A visitor keeps the results of the last job only.

    A visitor is whoever Gradio gives a session of its own: a browser tab or an API client.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: dict[str, Path] = {}
        self._lock = threading.Lock()

    def new(self) -> Path:
        """An empty folder under a name that cannot be guessed."""
        folder = self._root / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

    def keep(self, visitor: str | None, folder: Path) -> None:
        """Make `folder` the visitor's last results and remove those before it."""
        with self._lock:
            previous = self._kept.pop(visitor, None)
            self._kept[visitor] = folder
        if previous is not None:
            discard(previous)

    def forget(self, visitor: str | None) -> None:
        """Remove the results of a visitor who has left."""
        with self._lock:
            folder = self._kept.pop(visitor, None)
        if folder is not None:
            discard(folder)


def discard(folder: Path) -> None:
    """Remove a job's folder; files that are gone already are none of our business."""
    shutil.rmtree(folder, ignore_errors=True)


class ProgressMeter:
    """Progress over the tiles of both stages, encoding and decoding, and the time left at the pace so far."""

    def __init__(self) -> None:
        self.frames_counted = 0
        self._begin = time.monotonic()
        self._stages: dict[str, Progress] = {}

    def add(self, progress: Progress) -> None:
        if progress.stage == "count":
            self.frames_counted = progress.done
        else:
            self._stages[progress.stage] = progress

    @property
    def done(self) -> int:
        """Tiles done."""
        return sum(stage.done for stage in self._stages.values())

    @property
    def total(self) -> int:
        """Tiles of both stages; a stage that has not begun counts as many as the other."""
        return sum(stage.total for stage in self._stages.values()) * 2 // max(1, len(self._stages))

    @property
    def seconds_left(self) -> float | None:
        """None before the first tile."""
        if not self.done:
            return None
        return (time.monotonic() - self._begin) * (self.total - self.done) / self.done


class ModelShelf:
    """The model used last, so that another run does not load it again. Threads may share it: inference is read-only."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._model: Autoencoder | None = None
        self._lock = threading.Lock()

    def load(self, name: str, weights: str | None, device: str) -> Autoencoder:
        """`load_autoencoder`, or the same model as last time if its weights have not changed on disk."""
        key = name, weights, device, _changed_ns(weights)
        with self._lock:
            if key != self._key:
                self._key = self._model = None  # frees the old one before the new one needs its memory
                self._model = load_autoencoder(name, weights, device)
                self._key = key
            return self._model


def _changed_ns(weights: str | None) -> int | None:
    path = Path(weights) if weights else None
    return path.stat().st_mtime_ns if path and path.exists() else None
