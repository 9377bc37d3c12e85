"""Noise on latents before they are decoded, as RAE does: the decoder learns to forgive what a generator gets wrong.

"Diffusion Transformers with Representation Autoencoders" (arXiv 2510.11690). The strength is drawn for each clip, so
that clean latents are decoded too. Cost: a decoding.
"""

import torch
from torch import Tensor

from workbench.training.latent_losses.changed import Changed

STRENGTH = 0.8
"""Deviation of the strength, in deviations of the latents of the batch."""


def noisy(latents: Tensor, clip: Tensor) -> Changed:
    """Latents with normal noise, of a strength that is the absolute value of a normal one."""
    strength = STRENGTH * torch.randn(latents.shape[0], 1, 1, 1, 1).abs()
    noise = (strength * torch.randn(latents.shape)).to(latents.device, latents.dtype)
    return Changed(latents + latents.detach().std() * noise, clip)
