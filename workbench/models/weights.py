"""Weights: where they are, reading them safely, and writing them with the architecture they belong to."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.errors import WeightsError, first_line
from workbench.files import written_whole
from workbench.finite import nonfinite_names

METADATA_KEY = "workbench"
CHECKPOINT_FILES = ("ema.safetensors", "model.safetensors")
CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")
"""The name of a complete checkpoint in a run's folder; longer numbers come after a million steps."""


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a weight file by name, and the model it says it holds (None for files from elsewhere)."""

    path: Path
    state: dict[str, Tensor]
    model: str | None = None
    architecture: dict[str, Any] | None = None


def locate_weights(weights: str | os.PathLike) -> Path:
    """The local file that `weights` names: a .safetensors or .pt file, a checkpoint folder, or org/repo/file (Hub).

    A training-checkpoint folder gives its EMA weights, or the plain ones where no EMA was kept. A run folder gives
    its newest checkpoint.

    Raises:
        WeightsError: nothing is there, or the Hub cannot be reached.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return _file_in_folder(path)
    parts = str(weights).split("/")
    if len(parts) >= 3 and not path.is_absolute() and all(parts) and not parts[0].startswith("."):
        return _download("/".join(parts[:2]), "/".join(parts[2:]))
    raise WeightsError(f"{path}: not found; give a .safetensors or .pt file, a checkpoint folder, or org/repo/file")


def read_weights(path: Path) -> WeightFile:
    """Read a weight file without ever running code from it.

    Raises:
        WeightsError: the file is damaged, of another format, or a pickle that holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        return WeightFile(path, _read_pickle(path))
    raise WeightsError(f"{path}: unknown weight format {path.suffix or '(no extension)'}; use .safetensors or .pt")


def load_state(model: nn.Module, file: WeightFile, assign: bool = False) -> None:
    """Copy (or with `assign`, put) the tensors of a weight file into a model of exactly the same names and shapes.

    Raises:
        WeightsError: names or shapes differ, of which the first few are listed, or a value is NaN or infinite.
    """
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in file.state]
    problems += [f"unexpected {name}" for name in file.state if name not in own]
    problems += [
        f"{name} has shape {tuple(file.state[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in file.state and file.state[name].shape != own[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise WeightsError(f"{file.path}: does not fit this model: {shown}")
    check_finite(str(file.path), file.state)
    model.load_state_dict(file.state, strict=True, assign=assign)


def check_finite(source: str, state: Mapping[str, Tensor]) -> None:
    """Raise WeightsError, naming the first, where tensors of a model's weights hold a NaN or an infinity."""
    broken = nonfinite_names(state)
    if broken:
        raise WeightsError(f"{source}: {len(broken)} of its tensors hold NaN or Inf, the first is {broken[0]}")


def save_weights(path: Path, state: Mapping[str, Tensor], model: str, architecture: Mapping[str, Any]) -> None:
    """Write tensors as .safetensors together with the model's name and architecture, so that the file stands alone.

    The file appears under its name only when it is complete and on disk.
    """
    metadata = {METADATA_KEY: json.dumps({"model": model, "architecture": dict(architecture)})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata)


def checkpoints(run: Path) -> dict[int, Path]:
    """The complete checkpoints of a run folder by step, oldest first."""
    found = {int(match[1]): path for path in run.glob("step-*") if (match := CHECKPOINT_NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def _file_in_folder(folder: Path) -> Path:
    for name in CHECKPOINT_FILES:
        if (folder / name).is_file():
            return folder / name
    if steps := checkpoints(folder):
        return _file_in_folder(steps[max(steps)])
    raise WeightsError(f"{folder}: not a checkpoint, it holds neither {' nor '.join(CHECKPOINT_FILES)}")


def check_hub(repo: str, filename: str) -> None:
    """Ask the Hub once for a file that is not in the local cache; a download would try, noisily, for half a minute.

    Raises:
        WeightsError: the Hub cannot be reached, or has no such file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        if not isinstance(try_to_load_from_cache(repo, filename), str):
            get_hf_file_metadata(hf_hub_url(repo, filename))
    except Exception as error:  # also those of the HTTP client that it happens to use
        raise _not_on_hub(repo, filename, error) from None


def _download(repo: str, filename: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    check_hub(repo, filename)
    try:
        return Path(hf_hub_download(repo, filename))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise _not_on_hub(repo, filename, error) from None


def _not_on_hub(repo: str, filename: str, error: Exception) -> WeightsError:
    return WeightsError(f"{repo}/{filename}: not a local file, nor to be had from the Hub ({first_line(error)})")


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable .safetensors file ({error})") from None
    return WeightFile(path, state, *_stored_model(path, metadata))


def _stored_model(path: Path, metadata: Mapping[str, str]) -> tuple[str | None, dict[str, Any] | None]:
    """The name and architecture that `save_weights` put into a file, or None twice for files from elsewhere."""
    if METADATA_KEY not in metadata:
        return None, None
    try:
        stored = json.loads(metadata[METADATA_KEY])
        return str(stored["model"]), dict(stored["architecture"])
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: what it says of its architecture is damaged ({first_line(error)})") from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make it fail in many ways; it has no error of its own
        reason = first_line(error)
        raise WeightsError(f"{path}: not a readable file of plain tensors; nothing in it was run ({reason})") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no state dict (a mapping from names to tensors)")
    return state
