"""What every vision network offers, and its features where the latents of a clip are.

DINOv2 was trained on pictures of 224 and more pixels a side, which are 16 x 16 patches; frames are resized so that
latents of a frame get about as many, a square of whole patches each.
"""

from abc import ABC, abstractmethod
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.base import Autoencoder

_PATCHES = 16
"""Patches of a side that a frame is resized to, about."""


class VisionNetwork(nn.Module, ABC):
    """A frozen network of pictures.

    Attributes:
        source: what a user calls it.
        stride: pixels of a side that a feature stands for.
        channels: numbers of a feature.
    """

    source: str = ""
    stride: int
    channels: int

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Frames (n, 3, H, W) in [-1, 1], sides of whole strides, to features (n, channels, H / stride, W / stride)."""


def grid_features(network: VisionNetwork, frames: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features (n, D, *grid) of frames (n, 3, H, W) in [-1, 1]: each the mean of the patches of its place."""
    patches = max(1, round(_PATCHES / sqrt(grid[0] * grid[1])))
    sides = [side * patches * network.stride for side in grid]
    x = F.interpolate(frames.float(), sides, mode="bilinear", align_corners=False, antialias=True)
    return F.avg_pool2d(network(x), patches)


def latent_features(network: VisionNetwork, ae: Autoencoder, clip: Tensor) -> Tensor:
    """Features (B, D, t, h, w) of a clip (B, 3, T, H, W) in [-1, 1] where its latents are.

    Of the frames that a latent stands for the middle one is looked at: the others show much the same.

    Args:
        clip: sides of whole strides of the autoencoder.
    """
    grid = clip.shape[3] // ae.spatial_stride, clip.shape[4] // ae.spatial_stride
    seen = clip[:, :, middle_frames(ae, clip.shape[2])]
    features = grid_features(network, seen.transpose(1, 2).flatten(0, 1), grid)
    return features.unflatten(0, (clip.shape[0], -1)).transpose(1, 2)


def middle_frames(ae: Autoencoder, num_frames: int) -> list[int]:
    """Of a clip of so many frames, the one in the middle of those that each latent in time stands for."""
    if num_frames == 1:
        return [0]
    stride = ae.temporal_stride
    first = 1 if ae.causal else 0  # the first latent of a causal model stands for one frame
    starts = range(first, num_frames, stride)
    return [0] * first + [min(start + stride // 2, num_frames - 1) for start in starts]


def mean_features(network: VisionNetwork, frames: Tensor) -> Tensor:
    """One feature (n, D) a frame (n, 3, H, W) in [-1, 1]: the mean over its patches."""
    return grid_features(network, frames, (1, 1)).flatten(1)
