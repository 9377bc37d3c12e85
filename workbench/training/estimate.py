"""What a step would cost, without the memory or the time for it: counted on tensors that have shapes but no values."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from workbench.counting import Counter
from workbench.media.resolution import parse_resolution
from workbench.metrics.lpips import load_lpips
from workbench.models.discriminator import PatchDiscriminator3D
from workbench.models.registry import architecture_told, build_autoencoder
from workbench.models.weights import open_weights
from workbench.training.build import (
    autoencoder_optimizer,
    discriminator_optimizer,
    encoder_fields,
    fresh_autoencoder,
    trained_beside,
    vision_of,
)
from workbench.training.config import TrainConfig
from workbench.training.distillation import Distillation
from workbench.training.ema import EMA
from workbench.training.latent_losses.alignment import Alignment
from workbench.training.networks import Networks, RealAndFake
from workbench.training.schedules import all_losses_on
from workbench.training.step import step_gradients
from workbench.vision.load import vision_layers


@dataclass(frozen=True)
class Estimate:
    """Counted for one rank and one step.

    Attributes:
        parameters: of the autoencoder; and of the discriminator in stage disc, else 0.
        shape: (B, 3, T, H, W) of the batch.
        tflop: operations of forward and backward passes in 1e12, 2 for a multiply-add.
        state_gb: weights, gradients, the optimisers' state and averages, float32.
        peak_gb: the largest sum of all tensors at any moment; without the allocator's losses and workspaces.
    """

    parameters: tuple[int, int]
    shape: tuple[int, ...]
    tflop: float
    state_gb: float
    peak_gb: float

    def __str__(self) -> str:
        autoencoder, discriminator = self.parameters
        return (
            f"{autoencoder:,} parameters of the autoencoder, {discriminator:,} of the discriminator\n"
            f"batch {self.shape}; {self.tflop:.3g} TFLOP a step; memory {self.peak_gb:.3g} GB at its peak,\n"
            f"of which {self.state_gb:.3g} GB weights, gradients, optimisers and averages"
        )


def estimate(config: TrainConfig) -> Estimate:
    """Count parameters, operations and memory of a step with the largest batch of the buckets.

    In bfloat16 unless the configuration says otherwise; LPIPS and a published network of an alignment are counted
    whether or not their weights are there. Needs a process group of one.

    Raises:
        WeightsError: another network of an alignment, whose size only its file tells, is not there.
    """
    config = dataclasses.replace(config, precision=config.precision or "bfloat16")
    lpips = load_lpips(random_backbone=True) if config.vae_loss_config.perceptual_loss_weight > 0.0 else None
    vision = vision_of(config, vision_layers) if config.latent_loss_config.alignment > 0.0 else None
    told = _told(config)  # here, as no file can be read into tensors without values
    with FakeTensorMode(allow_non_fake_inputs=True), Counter() as counter:
        nets = _networks(config, told)
        nets.lpips = lpips
        if vision is not None:
            nets.alignment = Alignment(vision(), nets.autoencoder.latent_channels, config.alignment_config)
            nets.beside["alignment"] = trained_beside(nets.alignment.projection, config)
        shape = largest_batch(config, nets.autoencoder.spatial_stride)
        step = all_losses_on(config)
        step_gradients(nets, [torch.empty(shape)], step, config)
        networks = [nets.autoencoder, nets.discriminator] if nets.discriminator else [nets.autoencoder]
        counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    kept = sum(p.numel() for p in nets.autoencoder.parameters() if not p.requires_grad)
    beside = sum(p.numel() for one in nets.beside.values() for p in one.network.parameters())
    held = 3 * counts[0] - 2 * kept + 2 * (sum(counts[1:]) + beside)  # weights, gradients and averages
    state = 4 * held + _optimizer_bytes(nets)
    parameters = counts[0], sum(counts[1:])
    return Estimate(parameters, shape, counter.operations / 1e12, state / 1e9, counter.peak_bytes / 1e9)


def _optimizer_bytes(nets: Networks) -> int:
    states = (state for optimizer in nets.optimizers for state in optimizer.state.values())
    return sum(tensor.nbytes for state in states for tensor in state.values())


def largest_batch(config: TrainConfig, spatial_multiple: int) -> tuple[int, int, int, int, int]:
    """Shape (B, 3, T, H, W) of the batch with the most values among the buckets."""
    shapes = [
        (batch, 3, frames, *sides)
        for name, by_frames in config.bucket_config.items()
        for frames, (_, batch) in by_frames.items()
        for sides in parse_resolution(name).shapes(spatial_multiple)
    ]
    return max(shapes, key=lambda shape: torch.Size(shape).numel())


def _told(config: TrainConfig) -> Mapping[str, Any]:
    """What the weights that training starts from say of their architecture."""
    weights = config.model.from_pretrained
    return {} if weights in (None, "random") else architecture_told(open_weights(weights), config.model.name)


def _networks(config: TrainConfig, told: Mapping[str, Any]) -> Networks:
    autoencoder = fresh_autoencoder(config, told)
    optimizer = autoencoder_optimizer(autoencoder, config)
    nets = Networks(autoencoder, autoencoder, optimizer, EMA(autoencoder, config.ema_decay))
    if config.stage == "disc":
        nets.discriminator = PatchDiscriminator3D(config.discriminator.norm, config.discriminator.channels)
        nets.judge = RealAndFake(nets.discriminator)
        nets.discriminator_optimizer = discriminator_optimizer(nets.discriminator, config)
    if config.distil_config.weight > 0.0:
        teacher = build_autoencoder(config.model.name, told or encoder_fields(config)).requires_grad_(False)
        nets.distillation = Distillation(teacher, autoencoder, config.distil_config.stages)
        nets.beside["distillation"] = trained_beside(nets.distillation.projections, config)
    return nets
