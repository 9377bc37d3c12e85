"""Which model, with which weights: the one way to say it, from a command line, a page or a record."""

import os
import re
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
        label: what it is called in results and lists; by default NAME, or NAME@WEIGHTS, and +DECODER.
        decoder: another model of the same latents, whose decoder takes the place of its own.
    """

    name: str
    weights: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict, hash=False)
    label: str = ""
    decoder: "ModelRef | None" = None

    def __post_init__(self) -> None:
        own = "@".join(filter(None, (self.name, self.weights)))
        object.__setattr__(self, "label", self.label or (f"{own}+{self.decoder.label}" if self.decoder else own))

    def load(
        self, device: "str | torch.device | None" = None, dtype: "str | torch.dtype | None" = None
    ) -> "Autoencoder":
        """The model, ready for inference; errors as of `load_autoencoder`."""
        from workbench.models.registry import load_autoencoder, paired

        ae = load_autoencoder(self.name, self.weights, device, dtype, self.architecture)
        return paired(ae, self.decoder.load(device, dtype)) if self.decoder else ae

    def absolute(self) -> "ModelRef":
        """The same model from any working directory: paths that exist are written in full, its label stays."""
        is_diffusers = self.name.startswith(PREFIX)
        name = PREFIX + _absolute(self.name.removeprefix(PREFIX)) if is_diffusers else self.name
        weights, decoder = self.weights and _absolute(self.weights), self.decoder and self.decoder.absolute()
        return ModelRef(name, weights, self.architecture, self.label, decoder)


def parse_models(text: str) -> tuple[ModelRef, ...]:
    """The entries of `--models`: NAME, NAME@WEIGHTS, and +DECODER behind it, a model too, to decode with that one.

    The first @ of a model ends its name, so weights may hold more of them; a + begins a decoder where a name follows.

    Raises:
        ConfigError: an entry is empty or given twice, or its model is unknown.
        WeightsError: a model needs weights and its entry names none.
    """
    labels = [label.strip() for label in text.split(",")]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ConfigError(f"`models`: {twice[0]!r} is given twice")
    return tuple(parse_model(label, "models") for label in labels)


def parse_model(label: str, setting: str) -> ModelRef:
    """One model, as `parse_models` takes it.

    Args:
        setting: what it was given to, for errors, which are those of `parse_models`.
    """
    own, *others = _DECODER.split(label)
    if len(others) > 1:
        raise ConfigError(f"`{setting}`: {label!r} has {len(others)} decoders; name one")
    name, at, weights = own.partition("@")
    if not name or (at and not weights):
        raise ConfigError(f"`{setting}`: {label!r} is not NAME or NAME@WEIGHTS")
    if not name.startswith(PREFIX):
        check_choice(setting, name, [*MODELS, f"{PREFIX}CLASS_OR_REPO"])
    if needs_weights(name) and not weights:
        raise WeightsError(f"`{setting}`: {name} needs weights: write {name}@FILE, or {name}@random for untrained ones")
    decoder = parse_model(others[0], setting) if others else None
    return ModelRef(name, weights or None, label=label, decoder=decoder)


_DECODER = re.compile(rf"\+(?=(?:{'|'.join(map(re.escape, MODELS))})(?:[@+]|$)|{PREFIX})")


def _absolute(source: str | os.PathLike) -> str:
    """A path that exists, in full; any other source of weights as it is."""
    name, part = split_part(source)
    path = Path(name).expanduser()
    if not path.exists():
        return str(source)
    return str(path.absolute()) + ("" if part is None else f"#{part}")
