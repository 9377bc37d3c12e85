"""What decoding forgives: latents with noise, with few bits, and between two frames.

A generator's latents are never quite right; the decoder has to turn them into frames all the same. PSNR is against the
original, of the whole clip. Cost: a decoding of the clip for each point.
"""

import torch
from torch import Tensor

from workbench.metrics.psnr import pooled_psnr
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling

NOISE = (0.0, 0.1, 0.25, 0.5, 1.0)
"""In deviations of each channel."""

BITS = (8, 6, 4)


def robustness(
    ae: Autoencoder, x: Tensor, z: Tensor, std: Tensor, tiling: Tiling
) -> Steps[tuple[dict[str, float], float]]:
    """PSNR in dB by "noise S" and "B bits", and the PSNR of frames between latents, see `between_frames`; as steps.

    Args:
        x: a clip (1, 3, T, H, W) in [-1, 1].
        z: its latents (1, C, t, h, w).
        std: deviation (C,) of each channel.
    """
    size = x.shape[2], (x.shape[3], x.shape[4])
    found = {f"noise {strength:g}": noisy(z, std, strength) for strength in NOISE}
    found |= {f"{bits} bits": quantised(z, bits) for bits in BITS}
    found["between"] = between_frames(z)
    psnrs: dict[str, float] = {}
    for name, latents in found.items():
        y = decode_tiled(ae, latents, tiling, *size).clamp(-1, 1)
        psnrs[name] = pooled_psnr(x, y, 2.0).item()
        yield Progress("robustness", len(psnrs), len(found))
    between = psnrs.pop("between")
    return psnrs, between


def noisy(z: Tensor, std: Tensor, strength: float) -> Tensor:
    """z with normal noise of so many deviations of each channel; the same noise for every strength."""
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    return z + strength * std.to(z.dtype).view(1, -1, 1, 1, 1) * noise


def quantised(z: Tensor, bits: int) -> Tensor:
    """z in 2^bits even steps from the least to the greatest value of each channel."""
    low, high = z.amin((0, 2, 3, 4), keepdim=True), z.amax((0, 2, 3, 4), keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
    return low + ((z - low) / step).round() * step


def between_frames(z: Tensor) -> Tensor:
    """z with every second step in time replaced by the mean of its neighbours: what interpolation would decode."""
    middle = z.clone()
    inner = range(1, z.shape[2] - 1, 2)
    for index in inner:
        middle[:, :, index] = (z[:, :, index - 1] + z[:, :, index + 1]) / 2
    return middle
