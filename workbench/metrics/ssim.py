"""Structural similarity; tests hold it against pytorch-msssim and FFmpeg."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.metrics.frames import check_pair, undefined, unit_chunks
from workbench.metrics.window import WANG, Window

_K1, _K2 = 0.01, 0.03


def ssim(x: Tensor, y: Tensor, data_range: float, window: Window = WANG) -> Tensor:
    """SSIM of every frame, at most 1.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03. As in the paper only windows that lie inside
    the frame count; R, G and B are treated alike and averaged.
    SSIM depends on where black is, so values in [-1, 1] are brought to [0, 1] first. Frames with a side shorter than
    the window hold none: NaN.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,).
    """
    check_pair(x, y)
    if min(x.shape[2:]) < window.size:
        return undefined(len(x)).to(x.device)
    return torch.cat([_of_chunk(a, b, window) for a, b in unit_chunks(x, y, data_range)])


def _of_chunk(x: Tensor, y: Tensor, window: Window) -> Tensor:
    """SSIM (n,) of frames (n, 3, H, W) in [0, 1]. Only the sum of both variances counts: one mean serves for them."""
    mean_x, mean_y = _means(x, window), _means(y, window)
    squares, product = mean_x.square() + mean_y.square(), mean_x * mean_y
    variances = (_means(x * x + y * y, window) - squares) * window.correction
    covariance = (_means(x * y, window) - product) * window.correction
    c1, c2 = _K1**2, _K2**2
    return ((2 * product + c1) / (squares + c1) * (2 * covariance + c2) / (variances + c2)).mean((1, 2, 3))


def _means(x: Tensor, window: Window) -> Tensor:
    """Local means of every channel of (n, C, H, W), along columns and then along rows."""
    weights = window.weights
    return _mean_along(_mean_along(x, weights, 2), weights, 3)


def _mean_along(x: Tensor, weights: Sequence[float], dim: int) -> Tensor:
    """Sums of shifted and weighted copies: on a CPU 1.6 times as fast as a convolution of each channel by itself."""
    length = x.shape[dim] - len(weights) + 1
    total = x.narrow(dim, 0, length) * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        total.add_(x.narrow(dim, shift, length), alpha=weight)
    return total
