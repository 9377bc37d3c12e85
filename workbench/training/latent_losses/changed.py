"""What all of these share: latents that were changed are decoded, and held against the clip changed alike."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Changed:
    """Latents (B, C, t, h, w) as they are decoded, and the clip (B, 3, T, H, W) that should come of them."""

    latents: Tensor
    clip: Tensor


Change = Callable[[Tensor, Tensor], Changed]
"""Of latents and their clip. Draws from torch's own generator on the CPU, whose state a checkpoint holds."""


def resized_alike(latents: Tensor, clip: Tensor, grid: tuple[int, int], mode: str) -> Changed:
    """Latents at another grid, and the clip at as many pixels for each of them as before."""
    (height, width), now = grid, latents.shape[3:]
    pixels = height * (clip.shape[3] // now[0]), width * (clip.shape[4] // now[1])
    return Changed(resized(latents, height, width, mode), resized(clip, *pixels, mode))


def resized(clip: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Every frame of (B, C, T, H, W) at another size: "area" or antialiased "bilinear"."""
    frames = clip.transpose(1, 2).flatten(0, 1)
    antialias = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
    frames = F.interpolate(frames, (height, width), mode=mode, **antialias)
    return frames.unflatten(0, (clip.shape[0], clip.shape[2])).transpose(1, 2)
