"""What callbacks call beyond the page itself, imported by the first that needs it: torch, PyAV and plotly take a second
and a half, for which the page does not wait."""

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.ui.work_imports import *  # noqa: F403

_importing = threading.Lock()
"""Threads that import different parts of PyAV or torch at once end in each other's way."""


def __getattr__(name: str) -> Any:
    with _importing:
        from workbench.ui import work_imports
    return getattr(work_imports, name)
