"""The clips that visitors brought."""

import threading
from pathlib import Path

import gradio as gr

from workbench.jobs.folders import discard

_MOST_VISITORS = 16


class Uploads:
    """The clips that visitors brought: each visitor's last one is kept, and those that jobs work with.

    A clip is removed when nobody uses it any more; so are those of visitors of long ago. Gradio gives one path to equal
    uploads of several visitors. Files outside its folder for uploads are left alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: dict[str, Path] = {}
        self._lock = threading.Lock()

    def choose(self, visitor: str, clip: str | None) -> None:
        """The visitor's clip from now on; None for none."""
        self.release(visitor, keep=clip)
        self.use(visitor, clip)
        with self._lock:
            visitors = [user for user in self._used if not user.startswith("job ")]
        for old in visitors[:-_MOST_VISITORS]:
            self.release(old)

    def chosen(self, visitor: str) -> str | None:
        """The visitor's clip, as long as it is there."""
        clip = self._used.get(visitor)
        return str(clip) if clip and clip.exists() else None

    def use(self, user: str, clip: str | None) -> None:
        """Somebody works with the clip: a visitor, or a job, by "job " and a name of its own."""
        if clip:
            with self._lock:
                self._used[user] = Path(clip)

    def release(self, user: str, keep: str | None = None) -> None:
        """Nobody of that name works with a clip any more."""
        with self._lock:
            clip = self._used.pop(user, None)
            is_used = clip in self._used.values() or str(clip) == keep
        if clip and not is_used and clip.is_relative_to(self._root):
            discard(clip.parent)

    def left(self, request: gr.Request) -> None:
        """A program, which has no cookie, closed its session."""
        self.release(str(request.session_hash))
