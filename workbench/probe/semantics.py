"""Whether latents say what a frame shows, by the features of a frozen vision network at the same places.

Two figures of VA-VAE (arXiv 2501.01423), which trains for both (`training.latent_losses.alignment`): how far the
cosines between places differ, mean |cos(z_i, z_j) - cos(f_i, f_j)|, and how well a linear map of the latents points
where the features point. The map is fitted here by ridge regression on all clips but every fourth, and judged on those:
the share of the features' variance that it explains, and the mean cosine. Features are centred on the mean of the
clips that were fitted: what all places have in common says nothing. Figures compare under one network only.
Cost: the vision network over a frame for each latent in time, minutes on a CPU; the regression, seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.media.video import to_float
from workbench.models.base import Autoencoder
from workbench.tiling import pad_end
from workbench.vision.base import VisionNetwork, grid_features, middle_frames

_AT_ONCE = 8  # frames

_RIDGE = 1e-2
"""Added to the variance of each standardised channel, which is 1."""


@dataclass(frozen=True)
class Semantics:
    """NaN where there is nothing to fit or to judge.

    Attributes:
        distance: mean difference of cosines, 0 (alike) to 2.
        share: of the held-out features' variance that latents explain; 0 or less for white noise.
        cosine: of what they explain with what there is; 0 for white noise.
    """

    distance: float
    share: float
    cosine: float


@torch.no_grad()
def clip_features(network: VisionNetwork, ae: Autoencoder, frames: Tensor) -> Tensor:
    """Features (D, t, h, w), float32 on the CPU, where the latents of a clip are, uint8 (T, 3, H, W)."""
    sides = ae.legal_side(frames.shape[2]), ae.legal_side(frames.shape[3])
    grid = sides[0] // ae.spatial_stride, sides[1] // ae.spatial_stride
    found = []
    for part in frames[middle_frames(ae, len(frames))].split(_AT_ONCE):
        x = pad_end(to_float(part).transpose(0, 1)[None], len(part), *sides)
        found.append(grid_features(network, x[0].transpose(0, 1).to(network.device), grid).cpu())
    return torch.cat(found).transpose(0, 1)


def semantics(latents: Sequence[Tensor], features: Sequence[Tensor]) -> Semantics:
    """Latents (C, t, h, w), standardised, against features (D, t, h, w) of the same clips."""
    distance = vf_distance(latents, features)
    if len(latents) < 2:
        return Semantics(distance, float("nan"), float("nan"))
    fitted = [index for index in range(len(latents)) if index % 4]
    x, y = (torch.cat([_tokens(clips[index]) for index in fitted]) for clips in (latents, features))
    held_x, held_y = (torch.cat([_tokens(clip) for clip in clips[::4]]) for clips in (latents, features))
    x_mean, y_mean = x.mean(0), y.mean(0)
    mapping = ridge(x - x_mean, y - y_mean)
    found, there = (held_x - x_mean) @ mapping, held_y - y_mean
    share = 1 - (there - found).square().sum() / there.square().sum()
    return Semantics(distance, share.item(), F.cosine_similarity(found, there, dim=1).mean().item())


def vf_distance(latents: Sequence[Tensor], features: Sequence[Tensor]) -> float:
    """Mean over all pairs of places of one frame, as the loss without margin."""
    total = count = 0.0
    for z, f in zip(latents, features, strict=True):
        differences = (_cosines(z) - _cosines(f)).abs()
        total += differences.sum().item()
        count += differences.numel()
    return total / count


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """The map (C, D) that takes x (n, C) to y (n, D) with the least squared error, shrunk a little; both centred."""
    covariance = x.T @ x / len(x) + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(covariance, x.T @ y / len(x))


def _tokens(clip: Tensor) -> Tensor:
    return clip.double().flatten(1).T


def _cosines(clip: Tensor) -> Tensor:
    """Cosines (t, N, N) between the places of each frame of (C, t, h, w)."""
    unit = F.normalize(clip.double().flatten(2), dim=0).movedim(1, 0)  # t C N
    return unit.transpose(1, 2) @ unit
