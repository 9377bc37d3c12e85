"""Errors of the motion between frames, which metrics of single frames do not see."""

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.metrics.frames import check_pair, undefined, unit_chunks


def temporal_error(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """dtSSD: how far the change from the previous frame is from the original's change, in grey levels of 0..255.

    Root mean square over the frame of (y_t - y_(t-1)) - (x_t - x_(t-1)): Erofeev et al., "Perceptually Motivated
    Benchmark for Video Matting", BMVC 2015, applied to R, G and B and normalised by their number. 0 is perfect; an
    error that stays the same over time does not count. The first frame has no predecessor: NaN.

    Args:
        x, y: the original and the reconstruction, clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,).
    """
    return _per_change(x, y, data_range, lambda dx, dy: (dy - dx).square().mean((1, 2, 3)).sqrt())


def flicker(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """Change from the previous frame that the original does not have, in grey levels of 0..255.

    Mean over the frame of max(0, |y_t - y_(t-1)| - |x_t - x_(t-1)|): a still original scores the mean absolute change
    of the reconstruction, while motion that was lost or blurred, which `temporal_error` counts, is no flicker. Our own
    definition, in the spirit of the measures for intra-coded video, which compare the changes of the reconstruction
    with those of the original where that is still (Fan et al., "Flickering Reduction in All Intra Frame Coding",
    JVT-E070, 2002). The first frame has no predecessor: NaN.

    Args and returns as in `temporal_error`.
    """
    return _per_change(x, y, data_range, lambda dx, dy: (dy.abs() - dx.abs()).clamp(min=0).mean((1, 2, 3)))


def _per_change(x: Tensor, y: Tensor, data_range: float, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`measure` of the changes between neighbouring frames of both clips, one value a frame, in grey levels."""
    check_pair(x, y)
    chunks = unit_chunks(x, y, data_range, overlap=1)
    changes = [255.0 * measure(a.diff(dim=0), b.diff(dim=0)) for a, b in chunks]
    return torch.cat([undefined(1).to(x.device), *changes])
