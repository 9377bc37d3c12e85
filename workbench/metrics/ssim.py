"""Structural similarity."""

import torch
from torch import Tensor

from workbench.metrics.frames import check_pair, undefined, unit_chunks

WINDOW = 11


def ssim(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """SSIM of every frame, at most 1, by pytorch-msssim.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03. As in the paper only windows that lie inside
    the frame count; R, G and B are treated alike and averaged.
    SSIM depends on where black is, so values in [-1, 1] are brought to [0, 1] first. Frames with a side under 11 pixels
    hold no window: NaN.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,).
    """
    from pytorch_msssim import ssim as package

    check_pair(x, y)
    if min(x.shape[2:]) < WINDOW:
        return undefined(len(x)).to(x.device)
    values = []
    # Variances are small differences of large numbers: neither autocast nor cuDNN's TF32 may touch them.
    with torch.autocast(x.device.type, enabled=False), torch.backends.cudnn.flags(enabled=False):
        for chunk in unit_chunks(x, y, data_range):
            a, b = (clip.contiguous(memory_format=torch.channels_last) for clip in chunk)  # 4 times faster
            values.append(package(a, b, data_range=1.0, size_average=False))
    return torch.cat(values)
