"""`python -m workbench models`: the autoencoders by name."""

from dataclasses import dataclass
from typing import Any

from workbench.cli import Command
from workbench.compare.tables import text_table
from workbench.models.catalogue import DIFFUSERS_CLASSES, MODELS, PREFIX


@dataclass(frozen=True)
class NoSettings:
    """A command without settings."""


def run_models(config: NoSettings) -> None:
    """List the models: compression, channels, parameters, legal frame counts; and the classes of diffusers."""
    print(text_table([_describe(name) for name in MODELS]))
    for name, spec in MODELS.items():
        print(f"\n{name}: {spec.summary} ({spec.source})\n    weights: {spec.weights or 'none needed'}")
    classes = [{"class of diffusers": name, "of": of} for name, of in DIFFUSERS_CLASSES.items()]
    print(f"\n{text_table(classes)}\n")
    print(f"Those of diffusers: --model {PREFIX}FOLDER_OR_REPO, or {PREFIX}CLASS with random weights.")


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
        "time x height x width": f"{model.temporal_stride} x {model.spatial_stride} x {model.spatial_stride}",
        "channels": model.latent_channels,
        "values in : out": f"{values / model.latent_channels:g} : 1",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "legal frames": first,
    }


COMMAND = Command("List the autoencoders.", NoSettings(), run_models)
