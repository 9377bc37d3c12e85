"""Peak signal-to-noise ratio."""

import torch
from torch import Tensor

from workbench.metrics.frames import check_pair, unit_chunks

MAX_PSNR_DB = 100.0


def psnr(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """PSNR in dB of every frame: 10 log10(data_range^2 / MSE), the MSE taken over all pixels of R, G and B together.

    Values are capped at MAX_PSNR_DB, so that identical frames have a number that JSON can hold and means stay finite.
    Only identical frames reach the cap, and 8-bit frames where a handful of values are off by one.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,).
    """
    check_pair(x, y)
    return _of_mse(torch.cat([(a - b).square().mean((1, 2, 3)) for a, b in unit_chunks(x, y, data_range)]))


def pooled_psnr(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """PSNR in dB of all values of two tensors of one shape together, as a scalar; capped as `psnr`."""
    return _of_mse((x.float() - y.float()).square().mean() / data_range**2)


def _of_mse(mse: Tensor) -> Tensor:
    """PSNR in dB of mean squared errors of values in a range of 1."""
    return (-10.0 * torch.log10(mse)).clamp(max=MAX_PSNR_DB)
