"""Which model, with which weights: the one way to say it, from a command line, a page or a record."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import check_choice
from workbench.errors import ConfigError, WeightsError
from workbench.models.catalogue import MODELS, PREFIX, needs_weights, split_part

if TYPE_CHECKING:
    import torch

    from workbench.models.base import Autoencoder


@dataclass(frozen=True)
class ModelRef:
    """A model to load.

    Attributes:
        name, weights, architecture: as `load_autoencoder` takes them.
        label: what it is called in results and lists; by default NAME, or NAME@WEIGHTS.
    """

    name: str
    weights: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict, hash=False)
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or "@".join(filter(None, (self.name, self.weights))))

    def load(
        self, device: "str | torch.device | None" = None, dtype: "str | torch.dtype | None" = None
    ) -> "Autoencoder":
        """The model, ready for inference; errors as of `load_autoencoder`."""
        from workbench.models.registry import load_autoencoder

        return load_autoencoder(self.name, self.weights, device, dtype, self.architecture)

    def absolute(self) -> "ModelRef":
        """The same model from any working directory: paths that exist are written in full, its label stays."""
        is_diffusers = self.name.startswith(PREFIX)
        name = PREFIX + _absolute(self.name.removeprefix(PREFIX)) if is_diffusers else self.name
        return ModelRef(name, self.weights and _absolute(self.weights), self.architecture, self.label)


def parse_models(text: str) -> tuple[ModelRef, ...]:
    """The entries of `--models`. The first @ of an entry ends its name, so weights may hold more of them.

    Raises:
        ConfigError: an entry is empty or given twice, or its model is unknown.
        WeightsError: a model needs weights and its entry names none.
    """
    labels = [label.strip() for label in text.split(",")]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ConfigError(f"`models`: {twice[0]!r} is given twice")
    return tuple(map(_parse_entry, labels))


def _parse_entry(label: str) -> ModelRef:
    name, at, weights = label.partition("@")
    if not name or (at and not weights):
        raise ConfigError(f"`models`: {label!r} is not NAME or NAME@WEIGHTS")
    if not name.startswith(PREFIX):
        check_choice("models", name, [*MODELS, f"{PREFIX}CLASS_OR_REPO"])
    if needs_weights(name) and not weights:
        raise WeightsError(f"`models`: {name} needs weights: write {name}@FILE, or {name}@random for untrained ones")
    return ModelRef(name, weights or None, label=label)


def _absolute(source: str | os.PathLike) -> str:
    """A path that exists, in full; any other source of weights as it is."""
    name, part = split_part(source)
    path = Path(name).expanduser()
    if not path.exists():
        return str(source)
    return str(path.absolute()) + ("" if part is None else f"#{part}")
