"""The library's words in those of the page."""

from collections.abc import Callable
from pathlib import Path

from workbench.errors import worded
from workbench.files import quoted
from workbench.jobs.choices import Choices

LABELS = {
    "spatial_tile_size": "Tile side",
    "temporal_tile_size": "Tile frames",
    "tile_overlap_factor": "Overlap",
    "tiling_mode": "Cut",
    "model": "Model",
    "max_frames": "Frames at most",
    "device": "Device",
    "resolution": "Frame size",
    "root": "--root of app.py",
}
"""The library's settings, and what they are called on the page."""


def explain(choices: Choices, error: Exception) -> str:
    """An error's message with labels for settings, and the clip's name without folders."""
    text = worded(error, LABELS.get)
    source = choices.source
    return text.replace(quoted(source), quoted(Path(source).name)) if source else text


def explainer(choices: Choices, root: Path) -> Callable[[Exception], str]:
    """Errors in the words of the page; paths are relative to the app's root folder."""
    return lambda error: explain(choices, error).replace(f"{root}/", "")
