"""Slices through space and time: one row of a clip over its frames, where flicker and jumps show as broken lines."""

import torch
from torch import Tensor

from workbench.errors import ShapeError


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
