"""The models that can run right now: those without weights, and weights and diffusers' folders under the app's root."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from workbench.errors import ConfigError, WeightsError
from workbench.files import find_below
from workbench.jobs.choices import RANDOM_WEIGHTS, allowed_weights
from workbench.models.base import Autoencoder
from workbench.models.catalogue import DIFFUSERS_CLASSES, MODELS, PREFIX, needs_weights
from workbench.models.ref import ModelRef
from workbench.models.registry import architecture_in, build_autoencoder
from workbench.models.weights import CHECKPOINT_FILES, METADATA_KEY, locate_weights


def find_models(root: Path) -> dict[str, ModelRef]:
    """Models by label, those of MODELS that need no weights first; paths in labels are relative to `root`.

    Safetensors at most three folders deep count where they say which model they hold, or have exactly the tensors of
    one; a checkpoint counts once, as its folder. Only headers are read.
    """
    entries = [ModelRef(name) for name in MODELS if not needs_weights(name)]
    entries += sorted(_weight_entries(root), key=lambda entry: (list(MODELS).index(entry.name), entry.label))
    entries += _diffusers_entries(root)
    return {entry.label: entry for entry in entries}


def pick(labels: Sequence[str], root: Path) -> list[ModelRef]:
    """The entries of these labels, looked up anew, so that nothing outside of `root` can be named.

    Beside what `find_models` finds, NAME@random is an untrained model and NAME@org/repo/file takes weights of the Hub.

    Raises:
        ConfigError: there is no such model, or no longer.
        WeightsError: the weights are outside `root`.
    """
    found = find_models(root)
    return [found[label] if label in found else _named(label, root) for label in labels]


def plain_name(label: str) -> str:
    """The model of a label without its weights; that of a diffusers folder is relative to the root."""
    return label.partition("@")[0]


def _named(label: str, root: Path) -> ModelRef:
    name, _, weights = label.partition("@")
    if name not in MODELS or MODELS[name].weights is None:
        raise ConfigError(f"{label}: no such model here (any more); open the list of models for what there is")
    if not weights or weights == RANDOM_WEIGHTS:
        return ModelRef(name, weights or None)  # loading it says where weights belong
    return ModelRef(name, allowed_weights(weights, root), label=label)


def shape_of(entry: ModelRef) -> Autoencoder:
    """The model of an entry of MODELS without memory, for shapes and costs.

    Raises:
        WeightsError: its weights are gone, or of another model.
    """
    header = _header(locate_weights(entry.weights)) if entry.weights else {}
    held = header.get("model", entry.name)
    if entry.weights and held != entry.name:
        name = Path(entry.weights).name
        raise WeightsError(f"{name}: holds weights of {held}, not of {entry.name}; use `model` {held}")
    told = header.get("architecture") or architecture_in(entry.name, header.get("shapes", {}))
    with torch.device("meta"):
        return build_autoencoder(entry.name, told)


def _weight_entries(root: Path) -> Iterator[ModelRef]:
    folders: set[Path] = set()
    shipped = {spec.weights for spec in MODELS.values()}
    for found in find_below(root, "*.safetensors"):
        path = found.relative_to(root)
        if not found.resolve().is_relative_to(root):
            continue
        if (root / path).resolve() in shipped:
            continue
        name = _model_in(root / path)
        if path.name in CHECKPOINT_FILES:
            if path.parent in folders:
                continue
            folders.add(path.parent)
            path = path.parent
        if name is not None:
            yield ModelRef(name, str(root / path), label=f"{name}@{path}")


def _diffusers_entries(root: Path) -> Iterator[ModelRef]:
    for config in find_below(root, "config.json"):
        folder = config.parent
        if folder.resolve().is_relative_to(root) and _class_of(config) in DIFFUSERS_CLASSES:
            yield ModelRef(f"{PREFIX}{folder}", label=f"{PREFIX}{folder.relative_to(root)}")


def _class_of(config: Path) -> Any:
    try:
        record = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record.get("_class_name") if isinstance(record, dict) else None


def _model_in(path: Path) -> str | None:
    """The model whose weights a file holds, None where it is damaged or of something else."""
    stored = _header(path)
    if "model" in stored:
        return stored["model"] if stored["model"] in MODELS else None
    shapes = stored.get("shapes", {})
    told = (name for name in MODELS if architecture_in(name, shapes))
    return next(told, next((name for name in MODELS if shapes and shapes.keys() == _tensor_names(name)), None))


def _header(path: Path) -> dict[str, Any]:
    """What `save_weights` put into a file, or the shapes of its tensors by name; nothing for a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY in metadata:
                return json.loads(metadata[METADATA_KEY])
            return {"shapes": {name: file.get_slice(name).get_shape() for name in file.keys()}}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return {}


@cache
def _tensor_names(model: str) -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(build_autoencoder(model).state_dict())
