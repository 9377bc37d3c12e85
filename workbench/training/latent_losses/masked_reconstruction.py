"""Latent masked reconstruction of SSVAE: the decoder makes the clip of latents some of which are missing.

arXiv 2512.05394 (zai-org/SSVAE): with local correlation, a generator converges three times as fast. Tokens are masked
one by one with the probabilities below; which shares these are of is our reading. Cost: a decoding.
"""

import torch
from torch import Tensor

from workbench.training.latent_losses.changed import Changed

SHARES, PROBABILITIES = (0.0, 0.25, 0.5, 0.75), (0.7, 0.1, 0.1, 0.1)


def masked(latents: Tensor, clip: Tensor) -> Changed:
    """Tokens set to 0 at random, the same share of each clip of the batch."""
    share = SHARES[int(torch.multinomial(torch.tensor(PROBABILITIES), 1))]
    kept = torch.rand(latents.shape[0], 1, *latents.shape[2:]) >= share
    return Changed(latents * kept.to(latents.device, latents.dtype), clip)
