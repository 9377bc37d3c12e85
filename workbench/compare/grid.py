"""Any number of clips in rows and columns: one picture or video in which all of them play in step."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.compare.side_by_side import side_by_side
from workbench.errors import ShapeError


def grid(frames: Mapping[str, Tensor], columns: int | None = None) -> Tensor:
    """Panels row by row, each under its label; every frame is treated alike, so a clip can come slab by slab.

    Args:
        frames: label to uint8 frames_TCHW, all of one shape.
        columns: panels in a row; by default about as many as there are rows.

    Returns:
        uint8 frames_TCHW with even sides, at the scale of the input; places without a panel are dark.

    Raises:
        ShapeError: no frames, or not all uint8 of one shape (T, 3, H, W).
    """
    shapes = {tuple(panel.shape) for panel in frames.values()}
    if len(shapes) != 1:
        raise ShapeError(f"a grid takes clips of one shape (T, 3, H, W), got {sorted(shapes) or 'none'}")
    columns = columns or math.ceil(math.sqrt(len(frames)))
    panels = list(frames.items())
    dark = torch.zeros_like(panels[0][1])
    panels += [(" " * (index + 1), dark) for index in range(-len(panels) % columns)]
    rows = [side_by_side(dict(panels[start : start + columns])) for start in range(0, len(panels), columns)]
    return torch.cat(rows, dim=2)
