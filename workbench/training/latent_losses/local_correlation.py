"""Local correlation of SSVAE: neighbouring tokens shall be alike up to a threshold.

arXiv 2512.05394 (zai-org/SSVAE): windows of 2 x 2 x 2 tokens, threshold 0.75, weight 0.02; the first frame of a causal
model's latents, which stands for one frame, is taken apart. Cost: next to nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.75
WINDOW = (2, 2, 2)


def local_correlation_loss(latents: Tensor, causal: bool) -> Tensor:
    """max(0, threshold - r), for the mean Pearson correlation r over all pairs of tokens that share a window.

    Tokens are the variables and channels the observations.

    Args:
        latents: (B, C, t, h, w) of at least 2 channels.
        causal: whether the first latent in time stands for one frame.
    """
    parts = latents.float().split([1, latents.shape[2] - 1], dim=2) if causal else [latents.float()]
    correlations = (_correlations(part) for part in parts if part.shape[2])
    found = [values for values in correlations if values is not None]
    return F.relu(THRESHOLD - torch.cat(found).mean()) if found else latents.sum() * 0.0


def _correlations(latents: Tensor) -> Tensor | None:
    """Mean correlation of the pairs of every window; None where a window is one token."""
    sizes = [min(size, length) for size, length in zip(WINDOW, latents.shape[2:], strict=True)]
    if max(sizes) == 1:
        return None
    for axis, size in enumerate(sizes, start=2):
        latents = latents.narrow(axis, 0, latents.shape[axis] // size * size).unfold(axis, size, size)
    tokens = latents.flatten(5).permute(0, 2, 3, 4, 5, 1)  # B t h w n C
    unit = F.normalize(tokens - tokens.mean(-1, keepdim=True), dim=-1)
    count = unit.shape[-2]
    pairs = unit.sum(-2).square().sum(-1) - count  # all products of two, less those of each with itself
    return (pairs / (count * (count - 1))).flatten()
