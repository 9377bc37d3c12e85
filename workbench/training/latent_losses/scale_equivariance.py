"""SE: latents at a half or a quarter of their size decode to the clip at that size.

"Improving the Diffusability of Autoencoders" (arXiv 2502.14831): it takes away from latents the high frequencies that
decoding can do without. Its authors tune 10,000 to 20,000 steps with it: FID -19 %, FVD -44 %. Cost: a decoding of a
clip of a quarter of the pixels, or less.
"""

import torch
from torch import Tensor

from workbench.training.latent_losses.changed import Changed, resized_alike

FACTORS = (2, 4)


def smaller(latents: Tensor, clip: Tensor) -> Changed:
    """Both averaged down by a factor of `FACTORS` that divides the latents' grid; as they are where none does."""
    grid = latents.shape[3:]
    possible = [factor for factor in FACTORS if not any(side % factor for side in grid)]
    if not possible:
        return Changed(latents, clip)
    factor = possible[int(torch.randint(len(possible), ()))]
    return resized_alike(latents, clip, (grid[0] // factor, grid[1] // factor), "area")
