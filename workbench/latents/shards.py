"""Files of latents: .safetensors with one tensor (C, t, h, w) a clip, and in the header what each of them is.

A clip whose frame rate varies has a second tensor, KEY.timestamps_s: the seconds of each frame, float64.
"""

import json
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from workbench.errors import DataError, first_line
from workbench.files import quoted, write_errors, written_whole

HEADER_KEY = "workbench.latents"
_TIMES = ".timestamps_s"
_LEAST_FPS, _MOST_FPS, _LEAST_GAP_S, _MOST_SECONDS = 0.01, 10_000, 2e-5, 1e6  # that a video can hold
REMEDY = "delete it and encode again: only its clips are missing then"


@dataclass(frozen=True)
class LatentClip:
    """The source of the latents of one clip, as it was taken: the frames that decoding gives back.

    Attributes:
        path, bytes, modified_ns: the file.
        fps: frames per second, the average where the rate varies.
        latent_shape: (C, t, h, w).
        last_duration_s: how long the last frame is shown, where the file said so.
    """

    path: str
    bytes: int
    modified_ns: int
    is_image: bool
    num_frames: int
    height: int
    width: int
    fps: float
    latent_shape: tuple[int, int, int, int]
    last_duration_s: float | None = None


@dataclass(frozen=True)
class Shard:
    """A file of latents.

    Attributes:
        facts: what all clips of all shards of a folder have in common.
        clips: by the key of their tensor.
    """

    path: Path
    facts: dict[str, Any]
    clips: dict[str, LatentClip]

    def read(self, key: str) -> tuple[Tensor, tuple[float, ...] | None]:
        """The latents (C, t, h, w) of a clip as they are stored, and its timestamps where its rate varies.

        Raises:
            DataError: the file is damaged.
        """
        tensors = self.tensors([key])
        if key not in tensors:
            raise DataError(f"{quoted(self.path)}: the latents of {key} are missing; {REMEDY}")
        latents, times, clip = tensors[key], tensors.get(key + _TIMES), self.clips[key]
        if tuple(latents.shape) != clip.latent_shape or not latents.is_floating_point():
            found = f"{latents.dtype} {tuple(latents.shape)}"
            raise DataError(f"{quoted(self.path)}: the latents of {key} are {found}, not {clip.latent_shape}; {REMEDY}")
        if times is not None and not _can_be_times(times, clip.num_frames):
            raise DataError(f"{quoted(self.path)}: the times of {key} do not increase from frame to frame; {REMEDY}")
        return latents, None if times is None else tuple(times.tolist())

    def tensors(self, keys: Sequence[str]) -> dict[str, Tensor]:
        """All that the file holds of some clips, as `write_shard` takes it."""
        try:
            with safe_open(self.path, framework="pt") as file:
                names = [name for name in file.keys() if name.removesuffix(_TIMES) in keys]  # noqa: SIM118 (no dict)
                return {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise DataError(f"{quoted(self.path)}: latents cannot be read ({first_line(error)}); {REMEDY}") from None


def clip_tensors(key: str, latents: Tensor, timestamps_s: Sequence[float] | None) -> dict[str, Tensor]:
    """The tensors of one clip by name."""
    times = {} if timestamps_s is None else {key + _TIMES: torch.tensor(timestamps_s, dtype=torch.float64)}
    return {key: latents.contiguous(), **times}


def write_shard(
    path: Path, facts: Mapping[str, Any], clips: Mapping[str, LatentClip], tensors: Mapping[str, Tensor]
) -> None:
    """Write a shard, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    header = json.dumps({"facts": facts, "clips": {key: asdict(clip) for key, clip in clips.items()}})
    with written_whole(path) as temporary, write_errors(path):
        # Not by `save_file`, which has a temporary file of its own that a kill would leave behind.
        temporary.write_bytes(save(dict(tensors), {"format": "pt", HEADER_KEY: header}))


def read_shard(path: Path) -> Shard:
    """Read a shard's header, which may come from anywhere.

    Raises:
        DataError: the file is damaged, or not a shard of latents.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
        facts, clips = dict(header["facts"]), {key: _clip(record) for key, record in header["clips"].items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{quoted(path)}: not a file of latents ({_reason(error)})") from None
    for name, value in _nonsense(facts, clips):
        raise DataError(f"{quoted(path)}: what it says of its latents is damaged: {name} is {reprlib.repr(value)}")
    return Shard(path, facts, clips)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args == (HEADER_KEY,):
        return "it has no record of clips; a model's weights have none"
    return first_line(error)


def _clip(record: Mapping[str, Any]) -> LatentClip:
    return LatentClip(**{**record, "latent_shape": tuple(record["latent_shape"])})


def _nonsense(facts: Mapping[str, Any], clips: Mapping[str, LatentClip]) -> Iterator[tuple[str, Any]]:
    """Name and value of everything in a header that cannot be."""
    for key, clip in clips.items():
        holds = {
            "path": isinstance(clip.path, str) and "\0" not in clip.path,
            "is_image": clip.is_image is False or (clip.is_image is True and clip.num_frames == 1),
            "fps": _is_number(clip.fps) and _LEAST_FPS <= clip.fps <= _MOST_FPS,
            "last_duration_s": clip.last_duration_s is None or _can_be_duration(clip.last_duration_s),
            "latent_shape": len(clip.latent_shape) == 4 and all(map(_is_size, clip.latent_shape)),
            **{name: _is_size(getattr(clip, name)) for name in ("num_frames", "height", "width")},
        }
        yield from ((f"{name} of {key}", getattr(clip, name)) for name, can_be in holds.items() if not can_be)
        if "/" in key or "\0" in key:  # a file may be named after it
            yield "a clip's key", key
    normalisation = facts.get("normalisation")
    if normalisation is not None and not _can_normalise(normalisation, {c.latent_shape[0] for c in clips.values()}):
        yield "normalisation", normalisation


def _can_normalise(values: Any, channels: set[int]) -> bool:
    """Whether it is a mean and a deviation for each channel of every clip."""
    if not isinstance(values, dict) or values.keys() != {"mean", "std"}:
        return False
    columns = values["mean"], values["std"]
    if not all(isinstance(column, list) and all(map(_is_number, column)) for column in columns):
        return False
    return all(std >= 0 for std in values["std"]) and len({*map(len, columns), *channels}) == 1


def _can_be_times(times: Tensor, num_frames: int) -> bool:
    if times.shape != (num_frames,) or times.is_complex():
        return False
    seconds = times.double()
    return bool((seconds.diff() >= _LEAST_GAP_S).all() and (seconds.abs() < _MOST_SECONDS).all())


def _can_be_duration(value: Any) -> bool:
    return _is_number(value) and 0 < value < _MOST_SECONDS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31
