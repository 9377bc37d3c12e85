"""What a checkpoint holds, and putting it back: on the same number of ranks bit for bit.

model.safetensors, ema.safetensors  the weights, float32; `load_autoencoder` opens them and the folder
training/                           optimisers, discriminator and random states, by torch.distributed.checkpoint
state.json                          step, position in the data, counters, latent statistics: plain values; the
                                    statistics are those of the averaged weights at the step that stands with them
config.json                         the resolved configuration
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.optim import AdamW

from workbench.config import to_json
from workbench.errors import first_line
from workbench.models.base import Autoencoder
from workbench.models.registry import architecture_of
from workbench.models.weights import read_weights, save_weights
from workbench.ranks import World, agreed
from workbench.training.checkpoint import CheckpointError, reason_of
from workbench.training.checkpoint_reader import TensorReader
from workbench.training.config import TrainConfig
from workbench.training.distributed import copy_full_, full
from workbench.training.ema import trained
from workbench.training.muon import initial_state
from workbench.training.networks import Networks

TENSORS = "training"
_PLAIN = ("step", "stage", "world_size")


def initialise(optimizer: AdamW) -> AdamW:
    """Give the optimiser the state that it has after its first step, so that a checkpoint always has all of it."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = initial_state(group, parameter)
    return optimizer


def save_state(folder: Path, nets: Networks, plain: Mapping[str, Any], config: TrainConfig, world: World) -> None:
    """Write everything into an existing folder; every rank calls this, and all fail if one does."""
    own = nets.autoencoder.state_dict()
    for name, tensors in (("model", own), ("ema", own | nets.ema.values)):
        whole = {key: full(tensor) for key, tensor in tensors.items()}
        with agreed(world):
            if world.is_main:
                _save_weights(folder / f"{name}.safetensors", whole, nets.autoencoder)
    with agreed(world):
        if world.is_main:
            (folder / "config.json").write_text(to_json(config) + "\n")
            (folder / "state.json").write_text(json.dumps({**plain, "world_size": world.size, "stage": config.stage}))
    dcp.save(_training_tensors(nets) | _random_state(world), checkpoint_id=folder / TENSORS)


def load_state(folder: Path, nets: Networks, config: TrainConfig, world: World) -> dict[str, Any]:
    """Put a checkpoint back into networks of the same configuration; gives its plain values. No code from it is run.

    Raises:
        CheckpointError: on all ranks, it is of another stage or architecture, or incomplete.
    """
    with agreed(world):
        plain = _read_plain(folder)
        if plain["stage"] != config.stage:
            raise CheckpointError(
                f"`resume` {folder}: this is a checkpoint of stage {plain['stage']}; "
                f"start stage {config.stage} from it by `model.from_pretrained`"
            )
        _copy_weights(folder / "model.safetensors", nets.autoencoder, nets.autoencoder.state_dict())
        _copy_weights(folder / "ema.safetensors", nets.autoencoder, nets.ema.values)
        known = _names_in(folder)
    random = {name: tensor for name, tensor in _random_state(world).items() if name in known}
    tensors = _training_tensors(nets)
    for loss in nets.beside:
        if not any(name.startswith(f"{loss}.") for name in known):  # it was trained without, and begins now
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(loss)}
    try:
        dcp.load(tensors | random, storage_reader=TensorReader(folder / TENSORS))
    except CheckpointException as error:
        message = f"`resume` {folder}: {TENSORS}/ is damaged or does not fit this run ({reason_of(error)})"
        raise CheckpointError(message) from error
    _set_random_state(random, config, world, plain["step"])
    return plain


def _training_tensors(nets: Networks) -> dict[str, Tensor]:
    """Optimisers and discriminator by name; what is in the .safetensors files is not stored twice."""
    tensors = _optimizer_tensors("optimizer", nets.autoencoder, nets.optimizer)
    if nets.discriminator is not None and nets.discriminator_optimizer is not None:
        tensors |= {f"discriminator.{name}": tensor for name, tensor in nets.discriminator.state_dict().items()}
        tensors |= _optimizer_tensors("discriminator_optimizer", nets.discriminator, nets.discriminator_optimizer)
    for loss, beside in nets.beside.items():
        tensors |= {f"{loss}.{name}": tensor for name, tensor in beside.network.state_dict().items()}
        tensors |= _optimizer_tensors(f"{loss}_optimizer", beside.network, beside.optimizer)
    return tensors


def _optimizer_tensors(prefix: str, network: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}.{key}": tensor
        for name, parameter in trained(network)
        for key, tensor in optimizer.state[parameter].items()
    }


def _random_state(world: World) -> dict[str, Tensor]:
    """States of torch's generators of this rank; nothing in training draws from Python's or NumPy's."""
    states = {f"random.{world.rank}.cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states[f"random.{world.rank}.cuda"] = torch.cuda.get_rng_state(world.device)
    return states


def _set_random_state(states: Mapping[str, Tensor], config: TrainConfig, world: World, step: int) -> None:
    if not states:  # a rank that the saved run did not have
        torch.manual_seed(hash((config.seed, step, world.rank)))
    for name, state in states.items():
        if name.endswith("cuda"):
            torch.cuda.set_rng_state(state, world.device)
        else:
            torch.set_rng_state(state)


def _save_weights(path: Path, tensors: Mapping[str, Tensor], model: Autoencoder) -> None:
    try:
        save_weights(path, tensors, model.name, architecture_of(model))
    except SafetensorError as error:
        raise CheckpointError(first_line(error)) from error


def _names_in(folder: Path) -> set[str]:
    try:
        return set(TensorReader(folder / TENSORS).read_metadata().state_dict_metadata)
    except (OSError, ValueError, EOFError, IndexError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"`resume` {folder}: {TENSORS}/ is incomplete or damaged ({first_line(error)})"
        ) from error


def _copy_weights(path: Path, model: Autoencoder, targets: Mapping[str, Tensor]) -> None:
    file = read_weights(path)
    now = {"model": model.name} | json.loads(json.dumps(architecture_of(model)))
    before = {"model": file.model} | (file.architecture or {})
    changed = [
        f"{name} {before.get(name)} -> {now.get(name)}" for name in now | before if before.get(name) != now.get(name)
    ]
    if changed:
        raise CheckpointError(f"{path}: {', '.join(changed)}: an architecture cannot change within a run")
    for name, target in targets.items():
        copy_full_(target, file.state[name])


def _read_plain(folder: Path) -> dict[str, Any]:
    try:
        plain = json.loads((folder / "state.json").read_text())
        return {name: plain[name] for name in _PLAIN} | plain
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"`resume` {folder}: not a training checkpoint ({first_line(error)})") from None
