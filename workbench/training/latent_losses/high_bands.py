"""Dropped high bands: the decoder makes the clip of the smooth part of the latents alone.

LC-VAE (arXiv 2604.16479) zeroes the high Haar bands of the latents, so that what matters moves to the low one. Over the
frame only: 2 x 2 latents become their mean. Cost: a decoding.
"""

import torch.nn.functional as F
from torch import Tensor

from workbench.training.latent_losses.changed import Changed, resized


def smooth(latents: Tensor, clip: Tensor) -> Changed:
    """Latents whose squares of 2 x 2 are their means: the low band of one level of Haar's transform."""
    height, width = latents.shape[3:]
    even = F.pad(latents, (0, width % 2, 0, height % 2, 0, 0), mode="replicate")
    low = resized(even, even.shape[3] // 2, even.shape[4] // 2, mode="area")
    high = low.repeat_interleave(2, 3).repeat_interleave(2, 4)
    return Changed(high[..., :height, :width], clip)
