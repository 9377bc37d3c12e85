"""Channels of latents: their moments, how many of them there really are, and which say nothing.

Cost: one pass over the latents and an eigenvalue decomposition of C x C; seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import ConfigError
from workbench.models.latent_moments import dead_channels


@dataclass(frozen=True)
class Channels:
    """Moments of each of C channels over all latents, as float64 (C,).

    Attributes:
        kurtosis: fourth moment over the squared variance; 3 for a normal distribution.
        dead: how many channels say nothing.
        eigenvalues: of the channels' correlation matrix, largest first; their sum is the number of channels that vary.
    """

    mean: Tensor
    std: Tensor
    kurtosis: Tensor
    dead: int
    eigenvalues: Tensor

    @property
    def effective_rank(self) -> float:
        """(sum lambda)^2 / sum lambda^2: C for independent channels of one deviation, 1 where all say the same."""
        return (self.eigenvalues.sum().square() / self.eigenvalues.square().sum()).item()

    @property
    def condition_number(self) -> float:
        """The largest eigenvalue over the smallest of those that are not zero but for rounding."""
        kept = self.eigenvalues[self.eigenvalues > 1e-10 * self.eigenvalues[0]]
        return (kept[0] / kept[-1]).item()

    @property
    def top_10_share(self) -> float:
        """Share of the variance in the first ten principal directions."""
        return (self.eigenvalues[:10].sum() / self.eigenvalues.sum()).item()

    def standardise(self, latents: Tensor) -> Tensor:
        """Latents (C, t, h, w) with every channel at mean 0 and deviation 1, float32; one that never varies is 0."""
        shape = (-1, 1, 1, 1)
        std = torch.where(self.std > 0, self.std, 1.0)
        return ((latents.double() - self.mean.view(shape)) / std.view(shape)).float()

    def undo(self, standard: Tensor) -> Tensor:
        """What `standardise` made (C, t, h, w) of latents, as they were."""
        shape = (-1, 1, 1, 1)
        return (standard.double() * self.std.view(shape) + self.mean.view(shape)).float()


def channels_of(latents: Sequence[Tensor]) -> Channels:
    """The channels of latents (C, t, h, w) of any number of clips, at least two tokens in all.

    Raises:
        ConfigError: no channel varies.
    """
    tokens = torch.cat([clip.double().flatten(1) for clip in latents], dim=1)
    mean = tokens.mean(1)
    centred = tokens - mean[:, None]
    variance = centred.square().mean(1)
    std = variance.sqrt()
    std = torch.where(std > 1e-12 * tokens.abs().amax(1), std, 0.0)  # what is left of rounding the mean
    kurtosis = centred.pow(4).mean(1) / variance.square().clamp_min(1e-300)
    varied = std > 0
    if not varied.any():
        raise ConfigError("the latents of all clips are the same in every place: there is nothing to probe")
    normal = centred[varied] / std[varied, None]
    eigenvalues = torch.linalg.eigvalsh(normal @ normal.T / normal.shape[1]).flip(0).clamp_min(0)
    return Channels(mean, std, kurtosis, dead_channels(std), eigenvalues)
