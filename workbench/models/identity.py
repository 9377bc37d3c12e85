"""Which model it is: its architecture and a digest of its weights, wherever they came from; and what it ran with."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from workbench.models.base import Autoencoder
from workbench.models.plans import check_tiling, mode_of, tile_sizes
from workbench.models.ref import ModelRef
from workbench.models.registry import architecture_of
from workbench.tile_settings import Tiling


def identity_of(ae: Autoencoder) -> dict[str, Any]:
    """Name, architecture and `weights_digest` of a model, as plain values.

    Weights that were brought to another type have another digest: ask before, while they are as their file has them.
    """
    plain = {name: value for name, value in architecture_of(ae).items() if not name.startswith("_")}
    architecture = json.loads(json.dumps(plain))
    return {"model": ae.name, "architecture": architecture, "weights_sha256": weights_digest(ae)}


def is_same_model(identity: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two identities have one architecture and the same weights, under whatever name they were loaded."""
    return all(identity[name] == other[name] for name in ("architecture", "weights_sha256"))


def model_facts(entry: ModelRef, tiling: Tiling, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Size, strides and tiles of a model, and a digest of its weights; the model is loaded for it.

    Raises:
        ConfigError: a tile size is not legal for the model.
        WeightsError: its weights are missing or do not fit.
    """
    ae = entry.load(device, dtype)
    check_tiling(ae, tiling)
    pixels, frames = tile_sizes(ae, tiling)
    return {
        "model": entry.label,
        "random_weights": entry.weights == "random",
        "parameters": ae.parameter_count(),
        "latent_channels": ae.latent_channels,
        "temporal_stride": ae.temporal_stride,
        "spatial_stride": ae.spatial_stride,
        "causal": ae.causal,
        "spatial_tile_size": pixels,
        "temporal_tile_size": frames,
        "weights_sha256": weights_digest(ae),
    }


def weights_digest(ae: Autoencoder) -> str:
    """SHA-256 over the names, types and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(ae.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if math.prod(tensor.shape):
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def model_record(ae: Autoencoder, tiling: Tiling) -> dict[str, Any]:
    """What a model ran with, for a record of results: all that was left to defaults as it came out."""
    pixels, frames = tile_sizes(ae, tiling)
    return {
        "model": ae.name,
        "class": type(ae).__name__,
        "architecture": architecture_of(ae),
        "weights": None if ae.weights_path is None else str(ae.weights_path.resolve()),
        "dtype": str(ae.dtype).removeprefix("torch."),
        "spatial_tile_size": pixels,
        "temporal_tile_size": frames,
        "tiling_mode": mode_of(ae, tiling),
        **machine_record(ae.device),
    }


def machine_record(device: torch.device) -> dict[str, Any]:
    """What torch computes on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
