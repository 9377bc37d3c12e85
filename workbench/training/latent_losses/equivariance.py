"""EQ-VAE: latents that are turned and made smaller decode to the clip turned and made smaller.

Kouzelis et al., "EQ-VAE: Equivariance Regularized Latent Space for Improved Generative Image Modeling" (arXiv
2502.09509): a scale of 8/32 to 31/32 and quarter turns of the frame. Cost: a decoding of a clip of that size.
"""

import torch
from torch import Tensor

from workbench.training.latent_losses.changed import Changed, resized_alike


def turned_and_smaller(latents: Tensor, clip: Tensor) -> Changed:
    """Both at a random smaller grid, bilinear, and turned by 0 to 3 quarters. Clips of one latent are only turned."""
    scale, turns = int(torch.randint(8, 32, ())) / 32, int(torch.randint(4, ()))
    height, width = (max(1, round(side * scale)) for side in latents.shape[3:])
    small = resized_alike(latents, clip, (height, width), "bilinear")
    return Changed(small.latents.rot90(turns, (3, 4)), small.clip.rot90(turns, (3, 4)))
