"""EQ-VAE: latents that are turned and made smaller decode to the clip turned and made smaller.

Kouzelis et al., "EQ-VAE: Equivariance Regularized Latent Space for Improved Generative Image Modeling" (arXiv
2502.09509): a scale of 8/32 to 31/32 and quarter turns of the frame. Cost: a decoding of a clip of that size.
"""

import torch
from torch import Tensor

from workbench.training.latent_losses.changed import Changed, resized


def turned_and_smaller(latents: Tensor, clip: Tensor) -> Changed:
    """Both at a random smaller grid, bilinear, and turned by 0 to 3 quarters. Clips of one latent are only turned."""
    scale, turns = int(torch.randint(8, 32, ())) / 32, int(torch.randint(4, ()))
    grid = latents.shape[3:]
    stride = [pixels // side for pixels, side in zip(clip.shape[3:], grid, strict=True)]
    sides = [max(1, round(side * scale)) for side in grid]
    pixels = [side * step for side, step in zip(sides, stride, strict=True)]
    small = Changed(resized(latents, *sides, mode="bilinear"), resized(clip, *pixels, mode="bilinear"))
    return Changed(small.latents.rot90(turns, (3, 4)), small.clip.rot90(turns, (3, 4)))
