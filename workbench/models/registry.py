"""Building the autoencoders of the catalogue, and loading one with its weights."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from workbench.config import override, to_dict
from workbench.devices import laid_out, pick_device, pick_dtype
from workbench.errors import ConfigError, WeightsError
from workbench.faults import known_faults
from workbench.models import dc_ae_v, taehv
from workbench.models.base import Autoencoder
from workbench.models.catalogue import DEFAULT_MODEL, MODELS, PREFIX, find_spec, needs_weights
from workbench.models.convolution import has_kernels
from workbench.models.dc_ae_v import DCAEV, DCAEVConfig
from workbench.models.dct import DCT, DCTConfig
from workbench.models.diffusers_adapter import load_diffusers
from workbench.models.hunyuan_vae import HunyuanVAE, HunyuanVAEConfig
from workbench.models.paired import Paired
from workbench.models.taehv import TAEHV, TAEHVConfig
from workbench.models.tiny import Tiny, TinyConfig
from workbench.models.video_dc_ae import VideoDCAE, VideoDCAEConfig
from workbench.models.weights import WeightFile, check_finite, check_model, load_state, open_weights, remedy_of

logger = logging.getLogger(__name__)

ARCHITECTURES: dict[str, tuple[Callable[[Any], Autoencoder], Any]] = {
    "tiny": (Tiny, TinyConfig()),
    "dct": (DCT, DCTConfig()),
    "video_dc_ae": (VideoDCAE, VideoDCAEConfig()),
    "dc_ae_v": (DCAEV, DCAEVConfig()),
    "hunyuan_vae": (HunyuanVAE, HunyuanVAEConfig()),
    "taehv": (TAEHV, TAEHVConfig()),
}
"""How the models of the catalogue are made, and their architectures."""

TELLS: dict[str, Callable[[Mapping[str, Sequence[int]]], dict[str, Any]]] = {
    "dc_ae_v": dc_ae_v.architecture_in,
    "taehv": taehv.architecture_in,
}
"""Models of several published sizes, and what says which from the shapes of tensors."""


def architecture_in(name: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The architecture that tensors of these shapes tell, for weights that do not carry their own."""
    return TELLS[name](shapes) if name in TELLS else {}


def architecture_told(file: WeightFile, name: str) -> dict[str, Any]:
    """What a file says of the architecture of a named model, or else what its tensors tell.

    Raises:
        WeightsError: it is of another model, or says what this one has not: an older one of this name had.
    """
    check_model(file, name)
    if file.architecture is None:
        return architecture_in(name, {key: tensor.shape for key, tensor in file.state.items()})
    unknown = file.architecture.keys() - to_dict(ARCHITECTURES[name][1]).keys()
    if unknown:
        raise WeightsError(f"{file.path}: this model has no {', '.join(sorted(unknown))}{remedy_of(file)}")
    return file.architecture


def build_autoencoder(name: str, architecture: Mapping[str, Any] | None = None) -> Autoencoder:
    """A model of `MODELS` with fresh initial weights; `architecture` replaces fields of its configuration.

    Raises:
        ConfigError: the name or a field is unknown, or a value is not possible.
    """
    find_spec(name)
    build, default = ARCHITECTURES[name]
    model = build(override(default, architecture or {}))
    model.name = name
    return model


def load_autoencoder(
    name: str = DEFAULT_MODEL,
    weights: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Autoencoder:
    """An autoencoder ready for inference.

    Args:
        name: a name in `wb.MODELS`: {names}; or diffusers:SOURCE, where SOURCE is a folder or org/repo with published
            weights, or a class of diffusers (AutoencoderKLWan, ...) together with weights="random".
        weights: a local .safetensors or .pt file, an index of shards, a training-checkpoint folder, org/repo/file on
            the Hugging Face Hub, or "random" for untrained weights (seeded with 0); FILE#PREFIX takes one of several
            sets in a file. By default the ones that are shipped.
        device: "cuda", "cpu", ...; by default the GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 on a GPU and float32 on a CPU.
        architecture: fields of the model's configuration to replace, for weights that do not carry their own.

    Raises:
        ConfigError: the name, device or dtype is unknown or not available.
        WeightsError: weights are needed and not given, not found, unreadable or of another architecture.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    for fault in known_faults(device, dtype):
        logger.warning("%s", fault)
    return in_fastest_layout(_with_weights(name, weights, architecture).to(device, dtype).eval().requires_grad_(False))


def in_fastest_layout(ae: Autoencoder) -> Autoencoder:
    """The model itself, laid out as its inference is fastest where it is: a GPU may take another layout than a CPU."""
    if ae.device.type == "cuda" and has_kernels():
        for model in {ae.encoding_model, ae.decoding_model}:
            laid_out(model, model.gpu_layout)
    return ae


load_autoencoder.__doc__ = (load_autoencoder.__doc__ or "").format(names=", ".join(MODELS))


def paired(encoder: Autoencoder, decoder: Autoencoder) -> Autoencoder:
    """The encoder of one model with the decoder of another.

    Raises:
        ConfigError: their latents are not the same, see `Paired`.
    """
    model = Paired(encoder, decoder)
    parts = {"encoder": encoder, "decoder": decoder}
    model.config = {part: {"model": half.name, **architecture_of(half)} for part, half in parts.items()}
    model.weights_path = encoder.weights_path
    return model.eval()


def architecture_of(model: Autoencoder) -> dict[str, Any]:
    """The architecture of a model as plain values: what `save_weights` stores and `build_autoencoder` takes."""
    return to_dict(model.config) if dataclasses.is_dataclass(model.config) else dict(model.config)


def _with_weights(name: str, weights: str | os.PathLike | None, architecture: Mapping[str, Any] | None) -> Autoencoder:
    if name.startswith(PREFIX):
        return _from_diffusers(name, weights, architecture)
    spec = find_spec(name)
    if spec.weights is None:
        if weights is not None:
            raise WeightsError(f"{name} has no weights; leave them out")
        return build_autoencoder(name, architecture)
    if weights is None and spec.is_ready:
        weights = spec.weights
    if weights == "random":
        with _fixed_seed():
            return build_autoencoder(name, architecture)
    if weights is None:
        hint = "give that name, a local file or checkpoint, or 'random' for untrained ones"
        raise WeightsError(f"{name} needs weights: {spec.weights}; {hint}")
    return autoencoder_of(open_weights(weights), name, architecture)


def autoencoder_of(file: WeightFile, name: str, architecture: Mapping[str, Any] | None = None) -> Autoencoder:
    """A named model with the weights of a file, of the architecture that the file tells, changed by this one."""
    told = architecture_told(file, name)
    with torch.device("meta"):  # skips the random initialisation of half a billion weights
        model = build_autoencoder(name, {**told, **(architecture or {})})
    load_state(model, file, assign=True)
    model.weights_path = file.path
    return model


def _from_diffusers(
    name: str, weights: str | os.PathLike | None, architecture: Mapping[str, Any] | None
) -> Autoencoder:
    if architecture:
        raise ConfigError(
            f"`model.architecture`: {name} has a configuration of its own; {', '.join(architecture)} stays"
        )
    if needs_weights(name) and weights != "random":
        raise WeightsError(f"{name} is a class without weights; give {PREFIX}FOLDER_OR_REPO, or weights 'random'")
    if not needs_weights(name) and weights is not None:
        raise WeightsError(f"{name} names its own weights; leave them out")
    with _fixed_seed():
        model = load_diffusers(name.removeprefix(PREFIX))
    check_finite(name, model.state_dict())
    model.name = name
    return model


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """Random weights are the same in every run, and drawing them changes no random state of the caller."""
    with torch.random.fork_rng(devices=[]):  # models are built on the CPU
        torch.manual_seed(0)
        yield
