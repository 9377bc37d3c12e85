"""`python -m workbench models`: the autoencoders by name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.cli import Command
from workbench.compare.tables import text_table
from workbench.models.catalogue import DIFFUSERS_CLASSES, MODELS, PREFIX, diffusers_facts, diffusers_source

if TYPE_CHECKING:
    from workbench.models.base import Autoencoder

_LARGE = 257, 1024, 1024
"""Frames, height and width of a clip larger than any tile."""


@dataclass(frozen=True)
class NoSettings:
    """A command without settings."""


def run_models(config: NoSettings) -> None:
    """List the models: compression, parameters, frame counts, how they are run, where their weights are; diffusers'."""
    print(text_table([_describe(name) for name in MODELS]))
    for name, spec in MODELS.items():
        print(f"\n{name}: {spec.summary}\n    source: {spec.source}\n    weights: {_weights(name)}")
    for facts in (diffusers_facts, diffusers_source):
        print(f"\n{text_table(list(map(facts, DIFFUSERS_CLASSES)))}")
    print()
    print(f"Those of diffusers: --model {PREFIX}FOLDER_OR_REPO, or {PREFIX}CLASS with random weights.")
    print("Strides and channels are read from a model's configuration. A licence that is not given was not to be seen")
    print("where this list was made: see the page of the weights.")


def _describe(name: str) -> dict[str, Any]:
    """One row of `models`, counted on a model without memory."""
    import torch

    from workbench.models.registry import build_autoencoder

    with torch.device("meta"):
        model = build_autoencoder(name)
    values = model.temporal_stride * model.spatial_stride**2 * 3
    first = f"1 + {model.temporal_stride}k" if model.causal else f"1 or {model.temporal_stride}k"
    return {
        "model": name,
        "T x H x W": f"{model.temporal_stride} x {model.spatial_stride} x {model.spatial_stride}",
        "channels": model.latent_channels,
        "in : out": f"{values / model.latent_channels:g} : 1",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "legal frames": first,
        "run by default": _way(model),
    }


def _way(model: "Autoencoder") -> str:
    """How a clip goes through the model unless asked otherwise, and whether that changes the result."""
    from workbench.models.plans import encode_plan
    from workbench.tile_settings import OWN_TILING

    if encode_plan(model, _LARGE, OWN_TILING).is_exact:
        return "streamed, exact"
    return f"tiles of {model.default_tile_pixels} px, {model.default_tile_frames} frames"


def _weights(name: str) -> str:
    """Where the weights of a model are."""
    weights = MODELS[name].weights
    if weights is None:
        return "none needed"
    if not isinstance(weights, str):
        return "shipped"
    from workbench.fetch.hub import is_here

    return f"{weights}, {'here' if is_here(weights) else f'not here: python -m workbench fetch {name}'}"


COMMAND = Command("List the autoencoders.", NoSettings(), run_models)
