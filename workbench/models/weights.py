"""Weights: where they are, reading them safely, and writing them with the architecture they belong to."""

import argparse
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.errors import WeightsError, first_line
from workbench.files import written_whole
from workbench.finite import nonfinite_names
from workbench.models.catalogue import DIFFUSERS_CLASSES, MODELS, PREFIX, split_part
from workbench.models.foreign import flattened, part_of

logger = logging.getLogger(__name__)

METADATA_KEY = "workbench"
CHECKPOINT_FILES = ("ema.safetensors", "model.safetensors")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_FORMATS = (".safetensors", *_PICKLES)
_INDEX = ".index.json"
_FOREIGN_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json")
CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")
"""The name of a complete checkpoint in a run's folder; longer numbers come after a million steps."""


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a weight file by name, and the model it says it holds (None for files from elsewhere).

    Attributes:
        part: which of several sets of tensors to take, see `split_part`.
    """

    path: Path
    state: dict[str, Tensor]
    model: str | None = None
    architecture: dict[str, Any] | None = None
    part: str | None = None


def open_weights(weights: str | os.PathLike) -> WeightFile:
    """Find and read what `weights` names, errors as of `locate_weights` and `read_weights`."""
    source, part = split_part(weights)
    return replace(read_weights(locate_weights(source)), part=part)


def locate_weights(weights: str | os.PathLike) -> Path:
    """The local file that `weights` names: a .safetensors or .pt file, a checkpoint folder, or org/repo/file (Hub).

    A training-checkpoint folder gives its EMA weights, or the plain ones where no EMA was kept. A run folder gives
    its newest checkpoint. A folder of diffusers gives its own file, any other the only weight file in it.

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
    if path.suffix in _PICKLES:
        return WeightFile(path, _read_pickle(path))
    if path.name.endswith(_INDEX):
        return WeightFile(path, _read_shards(path))
    raise WeightsError(f"{path}: unknown weight format {path.suffix or '(no extension)'}; use .safetensors or .pt")


def check_model(file: WeightFile, name: str) -> None:
    """Raise WeightsError where the file says that it holds weights of another model than the named one."""
    if file.model not in (None, name):
        raise WeightsError(f"{file.path}: holds weights of {file.model}, not of {name}; use `model` {file.model}")


def load_state(model: nn.Module, file: WeightFile, assign: bool = False) -> None:
    """Copy (or with `assign`, put) the tensors of a weight file into a model of exactly the same names and shapes.

    Where the file holds more than the model, or other names, `foreign.part_of` says which tensors are the model's; what
    was taken is logged in one line.

    Raises:
        WeightsError: names or shapes differ, of which the first few are listed; several sets of tensors fit; or a
            value is NaN or infinite.
    """
    own = model.state_dict()
    part = part_of(str(file.path), file.state, own, file.part)
    if problems := _problems(part.state, own):
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        behind = f' (behind the prefix "{part.prefix}")' if part.prefix else ""
        raise WeightsError(f"{file.path}: does not fit this model{behind}: {shown}{remedy_of(file)}")
    check_finite(str(file.path), part.state)
    model.load_state_dict(part.state, strict=True, assign=assign)
    if not part.is_plain:
        logger.warning("%s: %s", file.path, part)


def _problems(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """How the tensors differ from what a model has."""
    shared = [name for name in own if name in state]
    return [
        *(f"missing {name}" for name in own if name not in state),
        *(f"unexpected {name}" for name in state if name not in own),
        *(
            f"{name} has shape {tuple(state[name].shape)}, the model has {tuple(own[name].shape)}"
            for name in shared
            if state[name].shape != own[name].shape
        ),
    ]


def remedy_of(file: WeightFile) -> str:
    """What to do about weights that do not fit, as the end of a message; nothing where none is known."""
    if file.model is None:
        return _other_model(file.path)
    is_shipped = file.model in MODELS and MODELS[file.model].is_shipped
    others = "leave `model.from_pretrained` out for the shipped weights, or " if is_shipped else ""
    return f"; it is of another version of {file.model}, or of another `model.architecture`: {others}train anew"


def _other_model(path: Path) -> str:
    """The remedy where the weights lie in a folder of a class of diffusers."""
    try:
        name = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return f"; it is of {name}: use `model.name` {PREFIX}{path.parent}" if name in DIFFUSERS_CLASSES else ""


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
    for name in _FOREIGN_FILES:
        if (folder / name).is_file():
            return folder / name
    return _only_file(folder)


def _only_file(folder: Path) -> Path:
    """The one weight file in a folder; the index where it is cut into shards."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    whole = [path for path in files if path.name.endswith(_INDEX)]
    whole = whole or [path for path in files if path.suffix in _FORMATS]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise WeightsError(f"{folder}: holds several weight files; name one: {', '.join(path.name for path in whole)}")
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
        path = Path(hf_hub_download(repo, filename))
        for shard in set(_weight_map(path).values()) if filename.endswith(_INDEX) else ():
            hf_hub_download(repo, "/".join([*filename.split("/")[:-1], shard]))
        return path
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


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors that an index names, each out of the file beside it that it says."""
    weight_map = _weight_map(index)
    shards = {shard: read_weights(index.parent / shard).state for shard in sorted(set(weight_map.values()))}
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise WeightsError(f"{index}: {name} is not in {shard}")
    return {name: shards[shard][name] for name, shard in weight_map.items()}


def _weight_map(index: Path) -> dict[str, str]:
    """Names of tensors to names of files in the folder of the index."""
    try:
        weight_map = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(f"{index}: not an index of weight files ({first_line(error)})") from None
    for shard in weight_map.values():
        if not isinstance(shard, str) or shard != Path(shard).name or Path(shard).suffix not in _FORMATS:
            raise WeightsError(f"{index}: names {shard!r}, which is no weight file in its own folder; nothing was read")
    return weight_map


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # settings that scripts keep; plain attributes
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make it fail in many ways; it has no error of its own
        reason = first_line(error).split(". ")[0]  # torch goes on with advice to run the code after all
        raise WeightsError(f"{path}: not a readable file of plain tensors; nothing in it was run ({reason})") from None
    state = flattened(tree)
    if not state:
        raise WeightsError(f"{path}: holds no state dict (a mapping from names to tensors)")
    return state
