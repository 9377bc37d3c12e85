"""One optimisation step of any stage: the losses, the gradients, and what is updated."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from workbench.errors import ConfigError
from workbench.metrics.lpips import LPIPS
from workbench.models.base import Autoencoder, AutoencoderOutput
from workbench.ranks import World, mean_over_ranks, reduce_mean
from workbench.training.config import TrainConfig
from workbench.training.distributed import full, gradient_sync
from workbench.training.latent_losses.total import latent_losses
from workbench.training.losses import (
    DISCRIMINATOR_LOSSES,
    RECONSTRUCTION_LOSSES,
    adaptive_weight,
    discriminator_accuracy,
    generator_loss,
    perceptual_loss,
    psnr_of,
    temporal_loss,
)
from workbench.training.networks import Networks
from workbench.training.schedules import perceptual_weight, rate_factor

_PERCEPTUAL_PIXELS = 1 << 19  # 8 frames of 256 x 256


def train_step(nets: Networks, batches: Sequence[Tensor], step: int, config: TrainConfig, world: World) -> dict:
    """Update the networks from the batches of one step (several where gradients are accumulated).

    The generator's and the discriminator's gradients are both taken from the same reconstruction, before either is
    updated. If any loss or gradient norm on any rank is not finite, nothing is updated on any rank.

    Args:
        batches: clips (B, 3, T, H, W) in [-1, 1] of this rank, on its device.
        step: number of this step, from 0.

    Returns:
        Losses, norms and rates by name, averaged over the ranks and equal on all; see `all_finite`.
    """
    statistics = _running_statistics(nets.discriminator)
    figures = step_gradients(nets, batches, step, config)
    figures["grad_norm"] = _clip(nets.autoencoder, config)
    for name, beside in nets.beside.items():
        figures[f"{name}_grad_norm"] = _clip(_averaged(beside.network), config)
    if discriminates(step, config):
        figures["disc_grad_norm"] = _clip(nets.against.discriminator, config)
    means = reduce_mean(figures, world)  # a NaN of one rank is one of all, so that they decide alike
    if all_finite(means):
        _update(nets, step, config)
    else:
        _restore(nets.discriminator, statistics)
    for optimizer in nets.optimizers:
        optimizer.zero_grad()
    return means


def step_gradients(nets: Networks, batches: Sequence[Tensor], step: int, config: TrainConfig) -> dict[str, Tensor]:
    """Add the gradients of all batches to both networks; gives the losses, averaged over this rank's batches."""
    figures: dict[str, Tensor] = {}
    for index, real in enumerate(batches):
        last = index == len(batches) - 1
        reconstruction, losses = _autoencoder_gradients(nets, real, step, config, last, len(batches))
        if discriminates(step, config):
            losses |= _discriminator_gradients(nets, real, reconstruction, config, last, len(batches))
        figures = {name: figures.get(name, 0.0) + value / len(batches) for name, value in losses.items()}
    return figures


def discriminates(step: int, config: TrainConfig) -> bool:
    """Whether the discriminator is trained at this step."""
    return config.stage == "disc" and step >= config.disc_loss_config.disc_start


def all_finite(figures: dict[str, float]) -> bool:
    """Whether a step's figures hold no NaN or Inf, that is, whether the step was made."""
    return all(math.isfinite(value) for value in figures.values())


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The precision of the networks' activations. Their weights, gradients and averages stay float32."""
    precision = config.precision or ("bfloat16" if device.type == "cuda" else "float32")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _autoencoder_gradients(
    nets: Networks, real: Tensor, step: int, config: TrainConfig, last: bool, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruct a batch and add its gradients; gives the reconstruction and the losses.

    The losses are differentiated down to the reconstruction first, and their sum is then sent through the autoencoder
    in one backward pass: LPIPS and the discriminator are passed once each, although the adaptive weight needs the
    gradients of both apart.
    """
    variational = config.vae_loss_config.kl_loss_weight > 0.0
    with gradient_sync(nets.generator, last):  # the ranks' gradients meet once a step, not once a batch
        with autocast(config, real.device):
            output: AutoencoderOutput = nets.generator(real, sample_posterior=variational)
        reconstruction = output.reconstruction.float()  # losses and their gradients are taken in full precision
        gradient, losses = _loss_gradient(nets, real, reconstruction, step, config)
        roots, gradients = [reconstruction], [gradient / count]
        for name, (loss, weight) in _other_losses(nets, output, real, config).items():
            losses[name] = loss
            roots.append(loss)
            gradients.append(torch.full_like(loss, weight / count))
        if nets.alignment is not None:
            with autocast(config, real.device):
                losses |= nets.alignment(nets.autoencoder, output.latents, real)
            losses["alignment_weight"] = _alignment_weight(nets, reconstruction, gradient, losses["alignment"])
            roots.append(losses["alignment"])
            gradients.append(config.latent_loss_config.alignment * losses["alignment_weight"] / count)
        torch.autograd.backward(roots, gradients)
    return reconstruction.detach(), {name: value.detach() for name, value in losses.items()}


def _other_losses(
    nets: Networks, output: AutoencoderOutput, real: Tensor, config: TrainConfig
) -> dict[str, tuple[Tensor, float]]:
    """Losses that are not of the reconstruction, each with its weight: KL, those on latents, distillation."""
    found: dict[str, tuple[Tensor, float]] = {}
    if config.vae_loss_config.kl_loss_weight > 0.0:
        if output.posterior is None:
            raise ConfigError(f"`vae_loss_config.kl_loss_weight`: {nets.autoencoder.name} has no posterior; use 0")
        found["kl"] = output.posterior.kl(), config.vae_loss_config.kl_loss_weight
    with autocast(config, real.device):
        if weights := config.latent_loss_config.weights:
            on_latents = latent_losses(nets.autoencoder, output.latents, real, config.latent_loss_config)
            found |= {name: (loss, weights[name]) for name, loss in on_latents.items()}
        if nets.distillation is not None:
            frames = nets.autoencoder.legal_frames(real.shape[2])
            loss = nets.distillation(nets.autoencoder, output.latents, frames)
            found["distillation"] = loss, config.distil_config.weight
    return found


def _loss_gradient(
    nets: Networks, real: Tensor, reconstruction: Tensor, step: int, config: TrainConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient of the losses (but KL) with respect to the reconstruction, and the losses."""
    fake = reconstruction.detach().requires_grad_()  # the losses' graphs end here, and are gone before the next begins
    kind = config.vae_loss_config.reconstruction
    losses = {kind: RECONSTRUCTION_LOSSES[kind](fake, real), "train_psnr": psnr_of(real, fake.detach())}
    losses["nll"] = losses[kind]
    if (weight := config.vae_loss_config.temporal_loss_weight) and fake.shape[2] > 1:
        losses["temporal"] = temporal_loss(fake, real)
        losses["nll"] = losses["nll"] + weight * losses["temporal"]
    (gradient,) = torch.autograd.grad(losses["nll"], fake)
    if nets.lpips is not None and (weight := perceptual_weight(step, config)) > 0.0:
        every = config.vae_loss_config.perceptual_every
        seen = slice(step % min(every, fake.shape[2]), None, every)
        losses["lpips"], perceptual = _perceptual_gradient(fake[:, :, seen], real[:, :, seen], nets.lpips)
        losses["nll"] = losses["nll"] + weight * losses["lpips"]
        gradient[:, :, seen] += weight * perceptual
    if config.stage == "disc" and step >= config.gen_loss_config.gen_start:
        discriminator = nets.against.discriminator
        with _statistics_kept(discriminator), autocast(config, real.device):
            losses["gen"] = generator_loss(discriminator(fake))
        (adversarial,) = torch.autograd.grad(losses["gen"], fake)
        losses["adaptive_weight"] = _adaptive_weight(nets.autoencoder, reconstruction, gradient, adversarial)
        gradient = gradient + config.gen_loss_config.disc_weight * losses["adaptive_weight"] * adversarial
    return gradient, losses


def _perceptual_gradient(fake: Tensor, real: Tensor, network: LPIPS) -> tuple[Tensor, Tensor]:
    """`perceptual_loss` and its gradient with respect to `fake`, a few frames at a time: VGG's activations are big."""
    length = fake.shape[2]
    at_once = max(1, _PERCEPTUAL_PIXELS // fake[:, 0, 0].numel())
    losses, gradients = [], []
    for x, y in zip(fake.detach().split(at_once, dim=2), real.split(at_once, dim=2), strict=True):
        x = x.requires_grad_()
        loss = perceptual_loss(x, y, network) * (x.shape[2] / length)
        losses.append(loss.detach())
        gradients += torch.autograd.grad(loss, x)
    return torch.stack(losses).sum(), torch.cat(gradients, dim=2)


def _adaptive_weight(model: Autoencoder, reconstruction: Tensor, nll: Tensor, adversarial: Tensor) -> Tensor:
    """`adaptive_weight` of the gradients at the last layer, averaged over the ranks: as if they were one."""
    last_layer = model.last_layer  # whole between forward and backward pass; FSDP2 shards it again after the first
    assert last_layer is not None, "`fresh_autoencoder` refuses a model without"
    at_last_layer = [
        mean_over_ranks(torch.autograd.grad(reconstruction, last_layer, gradient, retain_graph=True)[0])
        for gradient in (nll, adversarial)
    ]
    return adaptive_weight(*at_last_layer)


def _alignment_weight(nets: Networks, reconstruction: Tensor, gradient: Tensor, alignment: Tensor) -> Tensor:
    """`adaptive_weight` at the encoder's last layer, of the losses on the reconstruction against the alignment."""
    last_layer = nets.autoencoder.encoder_last_layer
    assert last_layer is not None, "`build_networks` refuses a model without"
    at_last_layer = [
        mean_over_ranks(torch.autograd.grad(root, last_layer, direction, retain_graph=True)[0])
        for root, direction in ((reconstruction, gradient), (alignment, None))
    ]
    return adaptive_weight(*at_last_layer)


def _averaged(network: nn.Module) -> nn.Module:
    """A network outside of DDP, its gradients averaged over the ranks."""
    for parameter in network.parameters():
        parameter.grad = None if parameter.grad is None else mean_over_ranks(parameter.grad)
    return network


def _discriminator_gradients(
    nets: Networks, real: Tensor, fake: Tensor, config: TrainConfig, last: bool, count: int
) -> dict[str, Tensor]:
    """Add the discriminator's gradients for a batch; gives its loss, and what tells whether it has collapsed."""
    judge = nets.against.judge
    with gradient_sync(judge, last):
        with autocast(config, real.device):
            real_logits, fake_logits = judge(real, fake)
        loss = DISCRIMINATOR_LOSSES[config.disc_loss_config.disc_loss_type](real_logits, fake_logits)
        (loss / count).backward()
    real_accuracy, fake_accuracy = discriminator_accuracy(real_logits, fake_logits)
    return {
        "disc": loss.detach(),
        "real_logits": real_logits.detach().float().mean(),
        "fake_logits": fake_logits.detach().float().mean(),
        "real_accuracy": real_accuracy,
        "fake_accuracy": fake_accuracy,
    }


def _clip(network: nn.Module, config: TrainConfig) -> Tensor:
    return full(torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip))


def _update(nets: Networks, step: int, config: TrainConfig) -> None:
    _optimise(nets.optimizer, config.lr * rate_factor(step, config))
    nets.ema.update(nets.autoencoder)
    for beside in nets.beside.values():
        _optimise(beside.optimizer, config.lr * rate_factor(step, config))
    if discriminates(step, config):
        _optimise(nets.against.optimizer, config.discriminator.lr * rate_factor(step, config))


def _optimise(optimizer: AdamW, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr  # a function of the step alone: a run that is resumed needs no schedule
    optimizer.step()


@contextmanager
def _statistics_kept(discriminator: nn.Module) -> Iterator[None]:
    """Leave BatchNorm's running statistics alone: a step of the generator changes nothing of the discriminator."""
    norms = [module for module in discriminator.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _running_statistics(discriminator: nn.Module | None) -> list[Tensor]:
    return [buffer.clone() for buffer in discriminator.buffers()] if discriminator else []


def _restore(discriminator: nn.Module | None, statistics: list[Tensor]) -> None:
    """Undo what a step that is left out did to the running statistics."""
    for buffer, before in zip(discriminator.buffers() if discriminator else [], statistics, strict=True):
        buffer.copy_(before)
