"""The networks of a run: built, given their weights, placed on the device, and spread over the ranks."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import AdamW

from workbench.devices import laid_out
from workbench.errors import ConfigError, WeightsError
from workbench.metrics.lpips import LPIPS, load_lpips
from workbench.models.base import Autoencoder
from workbench.models.catalogue import find_spec
from workbench.models.discriminator import PatchDiscriminator3D
from workbench.models.registry import (
    architecture_of,
    architecture_told,
    autoencoder_of,
    build_autoencoder,
    load_autoencoder,
)
from workbench.models.weights import load_state, open_weights
from workbench.ranks import World, agreed
from workbench.training.config import TrainConfig
from workbench.training.distillation import Distillation
from workbench.training.distributed import replicate, shard, synchronise_batch_norm
from workbench.training.ema import EMA, trained
from workbench.training.latent_losses.alignment import Alignment
from workbench.training.muon import Muon, muon_groups
from workbench.training.networks import Beside, Networks, RealAndFake
from workbench.training.state import initialise
from workbench.vision.load import load_vision

Found = TypeVar("Found")


def build_networks(config: TrainConfig, world: World) -> Networks:
    """Everything that a step trains, equal on all ranks; afterwards each rank draws its own random numbers.

    Raises, on all ranks alike:
        ConfigError: stage disc or decoder has nothing to start from, a loss does not fit the model, or a student not
            its teacher.
        WeightsError: the pretrained weights, or the network of a loss of weight above 0, are not there.
    """
    with agreed(world):
        lpips = _lpips(config, world)
        torch.manual_seed(config.seed)
        teacher = _teacher(config) if config.stage == "decoder" else None
        autoencoder = student_of(teacher, config) if teacher else _autoencoder(config)
        autoencoder.to(world.device)
        alignment = _alignment(config, autoencoder)
        distillation = distillation_of(teacher, autoencoder, config)
    if config.model.compile:
        autoencoder.compile()
    generator = shard(autoencoder, world) if config.parallel == "fsdp" else replicate(autoencoder, world)
    optimizer = autoencoder_optimizer(autoencoder, config)
    nets = Networks(autoencoder, generator, optimizer, EMA(autoencoder, config.ema_decay))
    nets.lpips, nets.alignment, nets.distillation = lpips, alignment, distillation
    if alignment is not None:
        nets.beside["alignment"] = trained_beside(alignment.projection, config)
    if distillation is not None:
        nets.beside["distillation"] = trained_beside(distillation.projections, config)
    if config.stage == "disc":
        _add_discriminator(nets, config, world)
    torch.manual_seed(config.seed + world.rank)
    return nets


def autoencoder_optimizer(autoencoder: nn.Module, config: TrainConfig) -> AdamW:
    """The optimiser that the configuration names, with its state made."""
    settings = {"lr": config.lr} | _adamw_settings(config)
    if config.optimizer == "muon":
        return initialise(Muon(muon_groups(autoencoder), **settings))
    return initialise(AdamW((parameter for _, parameter in trained(autoencoder)), **settings))


def discriminator_optimizer(discriminator: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW at the discriminator's own rate."""
    return _adamw(discriminator, config.discriminator.lr, config)


def trained_beside(network: nn.Module, config: TrainConfig) -> Beside:
    """A network that a loss trains, with the optimiser of the autoencoder's rate."""
    return Beside(network, _adamw(network, config.lr, config))


def _adamw(network: nn.Module, lr: float, config: TrainConfig) -> AdamW:
    """AdamW of all parameters of a network, with its state made."""
    return initialise(AdamW(network.parameters(), lr=lr, **_adamw_settings(config)))


def _adamw_settings(config: TrainConfig) -> dict[str, Any]:
    return {"betas": config.betas, "eps": config.eps, "weight_decay": config.weight_decay}


def fresh_autoencoder(config: TrainConfig, base: Mapping[str, Any] | None = None) -> Autoencoder:
    """The autoencoder with its first random weights, float32, set up as the configuration says.

    Args:
        base: the architecture that `model.architecture` changes, in place of that of the named model.

    Raises:
        ConfigError: it cannot be trained, or not with these losses.
    """
    model = build_autoencoder(config.model.name, {**(base or {}), **config.model.architecture})
    if model.last_layer is None:
        raise ConfigError(f"`model.name`: {config.model.name} has no weights to train")
    if config.keeps_encoder:
        model.freeze_encoder()
    if config.grad_checkpoint:
        model.set_gradient_checkpointing(True, last_layer_off=config.model.disc_off_grad_ckpt)
    if config.model.channels_last:
        laid_out(model, torch.channels_last_3d)
    return model


def _autoencoder(config: TrainConfig) -> Autoencoder:
    weights = config.model.from_pretrained
    if config.stage == "disc" and weights is None and config.resume is None:
        raise ConfigError(
            "`model.from_pretrained`: stage disc starts from a checkpoint of stage ae; name it, or say random"
        )
    if config.model.freeze and weights is None and config.resume is None:
        raise ConfigError(
            f"`model.freeze` {config.model.freeze} keeps weights: name `model.from_pretrained`, or random"
        )
    if weights in (None, "random"):
        return fresh_autoencoder(config)
    file = open_weights(weights)
    model = fresh_autoencoder(config, architecture_told(file, config.model.name))
    load_state(model, file)
    return model


def _teacher(config: TrainConfig) -> Autoencoder:
    """The autoencoder whose encoder stays, and whose decoder is replaced or trained on; float32 and frozen."""
    if config.model.from_pretrained is None:
        raise ConfigError(
            "`model.from_pretrained`: stage decoder needs the autoencoder that it is for, also to go on; name it"
        )
    find_spec(config.model.name)
    if config.model.from_pretrained == "random":
        return load_autoencoder(config.model.name, "random", "cpu", "float32", encoder_fields(config))
    file = open_weights(config.model.from_pretrained)
    teacher = autoencoder_of(file, config.model.name, None if file.architecture else encoder_fields(config))
    return teacher.float().eval().requires_grad_(False)


def encoder_fields(config: TrainConfig) -> dict[str, Any]:
    """What `model.architecture` says beside the decoder: that of a teacher whose file says nothing of its own. Its
    decoder is as deep as its encoder where that has depths."""
    fields = {name: value for name, value in config.model.architecture.items() if not name.startswith("decoder")}
    return fields | ({"decoder_depths": fields["encoder_depths"]} if "encoder_depths" in fields else {})


def student_of(teacher: Autoencoder, config: TrainConfig) -> Autoencoder:
    """A model with the frozen encoder of the teacher, and its decoder too where the architecture is the same.

    Raises:
        ConfigError: `model.architecture` changes more than the decoder.
    """
    given = architecture_of(teacher)
    model = fresh_autoencoder(config, given)
    asked = architecture_of(model)
    changed = [name for name in given if asked[name] != given[name]]
    for name in changed:
        if not name.startswith("decoder"):
            raise ConfigError(
                f"`model.architecture`: {name} {given[name]} -> {asked[name]} does not fit the latents of "
                f"{config.model.from_pretrained}; only the decoder's fields may differ"
            )
    kept = {n: t for n, t in teacher.state_dict().items() if not changed or n.split(".")[0] in model.encoder_parts}
    model.load_state_dict(kept, strict=not changed)
    return model


def distillation_of(teacher: Autoencoder | None, student: Autoencoder, config: TrainConfig) -> Distillation | None:
    """The match of features, where it has a weight."""
    if teacher is None or config.distil_config.weight == 0.0:
        return None
    return Distillation(teacher.to(student.device), student, config.distil_config.stages).to(student.device)


def _lpips(config: TrainConfig, world: World) -> LPIPS | None:
    weight = config.vae_loss_config.perceptual_loss_weight
    if weight == 0.0:
        return None
    try:
        return load_lpips(world.device)
    except WeightsError as error:
        raise WeightsError(
            f"`vae_loss_config.perceptual_loss_weight` {weight}: {error}; weight 0 trains without"
        ) from None


def _alignment(config: TrainConfig, autoencoder: Autoencoder) -> Alignment | None:
    if config.latent_loss_config.alignment == 0.0:
        return None
    if autoencoder.encoder_last_layer is None:
        raise ConfigError(f"`latent_loss_config.alignment`: {autoencoder.name} does not name its encoder's last layer")
    network = vision_of(config, load_vision)
    alignment = Alignment(network, autoencoder.latent_channels, config.alignment_config)
    return alignment.to(autoencoder.device)


def vision_of(config: TrainConfig, read: Callable[[str], Found]) -> Found:
    """What `read` makes of the name of the alignment's network; WeightsError says what wants it."""
    try:
        return read(config.alignment_config.network)
    except WeightsError as error:
        weight = config.latent_loss_config.alignment
        raise WeightsError(f"`latent_loss_config.alignment` {weight}: {error}; weight 0 trains without") from None


def _add_discriminator(nets: Networks, config: TrainConfig, world: World) -> None:
    discriminator = PatchDiscriminator3D(config.discriminator.norm, config.discriminator.channels)
    if world.size > 1:
        synchronise_batch_norm(discriminator)
    nets.discriminator = discriminator.to(world.device)
    nets.judge = replicate(RealAndFake(nets.discriminator), world)
    nets.discriminator_optimizer = discriminator_optimizer(nets.discriminator, config)
