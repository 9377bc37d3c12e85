"""The losses that a configuration asks for, of one batch."""

from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.training.config import LatentLossConfig
from workbench.training.latent_losses.changed import Change
from workbench.training.latent_losses.equivariance import turned_and_smaller
from workbench.training.latent_losses.high_bands import smooth
from workbench.training.latent_losses.local_correlation import local_correlation_loss
from workbench.training.latent_losses.masked_reconstruction import masked
from workbench.training.latent_losses.noise import noisy
from workbench.training.latent_losses.scale_equivariance import smaller
from workbench.training.losses import l1_loss

CHANGES: dict[str, Change] = {
    "scale_equivariance": smaller,
    "equivariance": turned_and_smaller,
    "masked_reconstruction": masked,
    "noise": noisy,
    "high_band_dropout": smooth,
}


def latent_losses(ae: Autoencoder, latents: Tensor, clip: Tensor, config: LatentLossConfig) -> dict[str, Tensor]:
    """Each loss of positive weight by its name, with gradients to encoder and decoder, not yet weighted.

    Args:
        latents: (B, C, t, h, w) of the clip (B, 3, T, H, W), whose sides the network takes as they are.
    """
    found = {}
    for name, change in CHANGES.items():
        if getattr(config, name) > 0:
            changed = change(latents, clip)
            frames, height, width = changed.clip.shape[2:]
            found[name] = l1_loss(ae.decode(changed.latents, frames, (height, width)), changed.clip)
    if config.local_correlation > 0:
        found["local_correlation"] = local_correlation_loss(latents, ae.causal)
    return found
