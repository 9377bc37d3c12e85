"""Slices through space and time: one row of a clip over its frames, where flicker and jumps show as broken lines."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.compare.grid import grid
from workbench.errors import ShapeError

_MIN_HEIGHT = 96  # pixels that a slice of few frames is stretched to


def xt_slice(frames_TCHW: Tensor, row: int) -> Tensor:
    """One row of every frame, the first frame on top: uint8 (T, 3, H, W) to a picture (3, T, W).

    Raises:
        ShapeError: they are not such frames, or have no such row.
    """
    if frames_TCHW.dtype != torch.uint8 or frames_TCHW.ndim != 4 or frames_TCHW.shape[1] != 3:
        raise ShapeError(
            f"a slice is taken of uint8 frames (T, 3, H, W), got {frames_TCHW.dtype} {tuple(frames_TCHW.shape)}"
        )
    if not 0 <= row < frames_TCHW.shape[2]:
        raise ShapeError(f"row {row}: the frames have rows 0 to {frames_TCHW.shape[2] - 1}")
    return frames_TCHW[:, :, row].transpose(0, 1)


def xt_picture(slices: Mapping[str, Tensor]) -> Tensor:
    """Slices of one row of several clips under each other, each under its label: x to the right, time downwards.

    Short clips are stretched in time by a whole number, so that every frame is a band of equal height.

    Args:
        slices: label to (3, T, W) of one shape, as `xt_slice` makes them.

    Returns:
        uint8 (3, height, width), without interpolation.
    """
    stretch = max(1, -(-_MIN_HEIGHT // next(iter(slices.values())).shape[1]))
    bands = {label: one.repeat_interleave(stretch, dim=1)[None] for label, one in slices.items()}
    return grid(bands, columns=1)[0]
