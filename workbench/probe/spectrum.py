"""Where the energy of latents lies among the frequencies of space and time.

Energy of high frequencies is expensive to learn: a diffusion model makes low frequencies first, and noise hides high
ones sooner. The share above a bound is the spectral energy criterion of "Diffusing in the Right Space" (arXiv
2606.03578), where it follows generation quality with |r| of about 0.80 over 86 tokenizers of images; over space and
time it is SSVAE's (arXiv 2512.05394). Cost: a cosine transform of the latents; seconds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.models.dct import dct_matrix

BINS = 12
"""Points of a curve, evenly from the lowest to the highest frequency."""


def high_share(latents: Sequence[Tensor], rho: float, with_time: bool = False) -> float:
    """Share of the energy with u + v > rho * ((H - 1) + (W - 1)), of a cosine transform over the frame.

    With `with_time` the transform and the sum run over time too. White noise has the share of the coefficients that
    lie there.

    Args:
        latents: (C, t, h, w) each, standardised.
    """
    high = total = 0.0
    for clip in latents:
        energy, order = energies(clip, with_time)
        high += energy[order > rho + 1e-9].sum().item()
        total += energy.sum().item()
    return high / total if total else float("nan")


def spatial_curve(clips: Sequence[Tensor]) -> list[float]:
    """Mean energy of a coefficient by its frequency (u + v) / ((H - 1) + (W - 1)), in `BINS` steps from 0 to 1.

    Args:
        clips: (C, t, h, w) each, latents or frames, standardised.
    """
    return _curve([energies(clip, with_time=False) for clip in clips])


def temporal_curve(clips: Sequence[Tensor]) -> list[float]:
    """The same by frequency in time alone; NaN where no clip has two steps."""
    pairs = []
    for clip in clips:
        if clip.shape[1] > 1:
            energy = _dct(clip, 1).square().mean((0, 2, 3))
            pairs.append((energy, torch.linspace(0, 1, len(energy))))
    return _curve(pairs)


def energies(clip: Tensor, with_time: bool) -> tuple[Tensor, Tensor]:
    """Mean energy of every coefficient over channels, and frames unless they are transformed too, with its order:
    0 for the mean, 1 for the highest frequency."""
    axes = (1, 2, 3) if with_time else (2, 3)
    for axis in axes:
        clip = _dct(clip, axis)
    energy = clip.square().mean(0 if with_time else (0, 1))
    steps = sum(size - 1 for size in energy.shape)
    order = torch.zeros(energy.shape)
    for own, size in enumerate(energy.shape):
        order += torch.arange(size).view([-1 if axis == own else 1 for axis in range(energy.ndim)])
    return energy, order / max(steps, 1)


def _curve(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    total, count = torch.zeros(BINS, dtype=torch.float64), torch.zeros(BINS, dtype=torch.float64)
    for energy, order in pairs:
        index = (order * (BINS - 1)).round().long().flatten()
        total.index_add_(0, index, energy.double().flatten())
        count.index_add_(0, index, torch.ones_like(energy, dtype=torch.float64).flatten())
    return (total / count).tolist()


def _dct(x: Tensor, axis: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) along an axis."""
    return (x.transpose(axis, -1) @ dct_matrix(x.shape[axis]).T.to(x.dtype)).transpose(axis, -1)
