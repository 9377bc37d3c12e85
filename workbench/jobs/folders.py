"""A folder of its own for each job."""

import secrets
import shutil
import threading
from pathlib import Path


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


def discard(folder: Path) -> None:
    """Remove a folder; files that are gone already are none of our business."""
    shutil.rmtree(folder, ignore_errors=True)
