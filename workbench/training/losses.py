"""Losses of all stages as plain functions of tensors; each returns a scalar in float32, averaged over all elements.

The published code sums |x - y| over C, H, W and adds 0.5 x LPIPS x (C*H*W). Divided by C*H*W that is the mean form
here, which does not depend on the resolution; neither Adam nor the adaptive weight sees the factor.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.metrics.psnr import pooled_psnr


def l1_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of two tensors of one shape."""
    return (x.float() - y.float()).abs().mean()


def l2_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of two tensors of one shape: what PSNR measures, and blurrier than L1 where in doubt."""
    return (x.float() - y.float()).square().mean()


def rmse_loss(x: Tensor, y: Tensor) -> Tensor:
    """Root of the mean squared difference of clips (B, ...), averaged over them.

    Hard clips count less than in the squared error, which they rule; easy ones less than in PSNR, which those rule.
    """
    return (x.float() - y.float()).square().flatten(1).mean(1).clamp_min(1e-12).sqrt().mean()


def temporal_loss(x: Tensor, y: Tensor) -> Tensor:
    """`rmse_loss` of the changes from frame to frame of clips (B, C, T, ...): about dtSSD, see `metrics.temporal`.

    An error that stays the same over time costs nothing here; what flickers and what moves wrongly does.
    """
    return rmse_loss(x.float().diff(dim=2), y.float().diff(dim=2))


RECONSTRUCTION_LOSSES = {"l1": l1_loss, "l2": l2_loss, "rmse": rmse_loss}


def generator_loss(fake_logits: Tensor) -> Tensor:
    """What the autoencoder minimises against either discriminator: -mean D(y). Lim and Ye, arXiv 1705.02894."""
    return -fake_logits.float().mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """0.5 * (mean relu(1 - D(x)) + mean relu(1 + D(y))). Lim and Ye, arXiv 1705.02894."""
    return 0.5 * (F.relu(1.0 - real_logits.float()).mean() + F.relu(1.0 + fake_logits.float()).mean())


def vanilla_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """0.5 * (mean softplus(-D(x)) + mean softplus(D(y))): cross-entropy. Goodfellow et al., arXiv 1406.2661."""
    return 0.5 * (F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean())


DISCRIMINATOR_LOSSES = {"hinge": hinge_discriminator_loss, "vanilla": vanilla_discriminator_loss}


def adaptive_weight(reconstruction_gradient: Tensor, generator_gradient: Tensor) -> Tensor:
    """How strongly the adversarial loss counts, so that both losses pull equally on the decoder's last layer.

    clamp(|d nll / d last| / (|d g / d last| + 1e-4), 0, 1e4), of VQGAN (Esser et al., arXiv 2012.09841).

    Args:
        reconstruction_gradient: gradient of the reconstruction losses with respect to the last layer's weight.
        generator_gradient: gradient of `generator_loss` with respect to the same weight.

    Returns:
        A scalar without gradient; finite for finite gradients, zeros included.
    """
    ratio = reconstruction_gradient.float().norm() / (generator_gradient.float().norm() + 1e-4)
    return ratio.clamp(0.0, 1e4).detach()


def discriminator_accuracy(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of real and of reconstructed patches that the discriminator tells right (logit above, below 0)."""
    return (real_logits > 0).float().mean(), (fake_logits < 0).float().mean()


def psnr_of(x: Tensor, y: Tensor) -> Tensor:
    """PSNR in dB of a whole batch in [-1, 1]: a cheap figure for the log."""
    return pooled_psnr(x, y.clamp(-1.0, 1.0), 2.0)


def perceptual_loss(x: Tensor, y: Tensor, network: nn.Module) -> Tensor:
    """Mean LPIPS over all frames of clips (B, 3, T, H, W) in [-1, 1], in float32 whatever the autocast around it.

    Zhang et al., arXiv 1801.03924. `network` is what `workbench.metrics.lpips.load_lpips` returns.
    """
    with torch.autocast(x.device.type, enabled=False):
        return network(_frames(x.float()), _frames(y.float())).mean()


def _frames(clips_BCTHW: Tensor) -> Tensor:
    return clips_BCTHW.transpose(1, 2).flatten(0, 1)
