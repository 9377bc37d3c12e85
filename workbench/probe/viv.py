"""Velocity irreducible variance: how ambiguous the direction is in which a generator has to move noise.

Flow matching regresses the velocity v = x1 - x0 on x_t = (1 - t) x0 + t x1, with noise x0 and latents x1. Where x1 is
normal with covariance eigenvalues lambda, the variance of v that x_t leaves open is lambda / ((1 - t)^2 + t^2 lambda)
in each direction; its integral over t is (pi / 2) sqrt(lambda). The mean over directions is VIV of "Diffusing in the
Right Space" (arXiv 2606.03578), the best single predictor of generation quality there: |r| of 0.87 over 86 tokenizers
of images, lower is better; 1.14 for its baseline, 0.37 for a good one.

There a class of images gives one covariance, Kronecker-factored over positions and channels. Here the class is a clip
and its members are blocks of latents, which is a proxy for video and unproven. Cost: eigenvalues of C x C for every
clip; seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

BLOCK = 4
"""Side of the blocks of latents that count as members of a class."""

_ITERATIONS = 5
_RIDGE = 1e-3
"""Added to the diagonal of a factor, of its mean: blocks of a clip are fewer than its directions."""


@dataclass(frozen=True)
class Viv:
    """Means over clips.

    Attributes:
        viv: pi / 2 for white noise, less for latents whose variance lies in few directions.
        scaled: viv * sqrt(d) for the d numbers of a block: comparable between latent spaces of different size.
        rho: variance inside a clip over that of all latents, which are standardised.
    """

    viv: float
    scaled: float
    rho: float


def velocity_irreducible_variance(latents: Sequence[Tensor]) -> Viv:
    """VIV of clips (C, t, h, w), standardised; NaN unless one is a block high and wide and changes."""
    found = [one for one in map(_of_clip, latents) if one is not None]
    if not found:
        return Viv(*[float("nan")] * 3)
    return Viv(*torch.tensor(found, dtype=torch.float64).mean(0).tolist())


def _of_clip(clip: Tensor) -> tuple[float, float, float] | None:
    x = blocks_of(clip)
    x = x - x.mean(0)
    if len(x) < 2 or not x.any():
        return None
    count, positions, channels = x.shape
    size = positions * channels
    within = (x.square().sum() / (count - 1)).item()
    eigenvalues = torch.outer(*map(_eigenvalues, kronecker_factors(x))).flatten()
    eigenvalues = eigenvalues * (within / eigenvalues.sum())
    viv = (pi / 2 * eigenvalues.sqrt().mean()).item()
    return viv, viv * size**0.5, within / size


def blocks_of(clip: Tensor) -> Tensor:
    """Blocks (n, positions, C), float64, that lie side by side in the frames of a clip (C, t, h, w)."""
    rows, columns = (side // BLOCK for side in clip.shape[2:])
    cut = clip[:, :, : rows * BLOCK, : columns * BLOCK].double()
    split = cut.reshape(*clip.shape[:2], rows, BLOCK, columns, BLOCK)  # C t r b c b
    return split.permute(1, 2, 4, 3, 5, 0).reshape(-1, BLOCK * BLOCK, clip.shape[0])


def kronecker_factors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances over positions (P, P) and over channels (C, C) whose product fits centred members (n, P, C) best.

    The flip-flop of Dutilleul, "The MLE algorithm for the matrix normal distribution" (1999).
    """
    count, positions, channels = x.shape
    over_positions = torch.eye(positions, dtype=x.dtype)
    over_channels = torch.eye(channels, dtype=x.dtype)
    for _ in range(_ITERATIONS):
        weighted = torch.linalg.solve(_ridged(over_positions), x)
        over_channels = torch.einsum("npc,npd->cd", x, weighted) / (count * positions)
        weighted = torch.linalg.solve(_ridged(over_channels), x.transpose(1, 2))
        over_positions = torch.einsum("ncp,ncq->pq", x.transpose(1, 2), weighted) / (count * channels)
        over_positions = over_positions * (positions / over_positions.trace())
    return over_positions, over_channels


def _ridged(matrix: Tensor) -> Tensor:
    return matrix + _RIDGE * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)


def _eigenvalues(matrix: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(matrix).clamp_min(0)
