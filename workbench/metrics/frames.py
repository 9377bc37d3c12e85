"""What every metric does first: check two clips against each other and go through them in bounded memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from workbench.errors import ShapeError

# Frames of one chunk hold about this many pixels together: 3 MB as float32 RGB, which stays in a CPU's cache.
_CHUNK_PIXELS = 2**18


def check_pair(x: Tensor, y: Tensor) -> None:
    """Raise ShapeError unless x and y are two clips (T, 3, H, W) of one shape with T, H, W >= 1."""
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape or x.shape != y.shape:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ShapeError(f"a metric compares two clips (T, 3, H, W) of one shape, got {shapes}")


def unit_chunks(x: Tensor, y: Tensor, data_range: float, overlap: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames of both clips as float32 in [0, 1], few at a time; each chunk begins with the last `overlap` frames of
    the one before.

    Args:
        data_range: 255 where values are in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].
    """
    low = -1.0 if data_range == 2 else 0.0
    frames = max(1, _CHUNK_PIXELS // (x.shape[2] * x.shape[3]))
    for start in range(0, x.shape[0] - overlap, frames):
        chunk = slice(start, start + frames + overlap)
        yield _unit(x[chunk], low, data_range), _unit(y[chunk], low, data_range)


def _unit(x: Tensor, low: float, data_range: float) -> Tensor:
    x = x.to(torch.float32, copy=True)  # and then in place: a pass over memory is half the cost
    return (x.sub_(low) if low else x).div_(data_range)


def undefined(frames: int) -> Tensor:
    """NaN for every frame: the value of a metric where it is not defined."""
    return torch.full((frames,), float("nan"))
