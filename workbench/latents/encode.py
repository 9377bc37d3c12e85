"""A data set to a folder of latents, over all ranks: what is missing is encoded, what is there is kept."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.devices import torch_dtype
from workbench.errors import ConfigError, WorkbenchError
from workbench.files import quoted
from workbench.latents.clips import Normalisation, OnClip, encode_file_steps, policy_record
from workbench.latents.folder import LatentFolder
from workbench.latents.settings import EncodeSettings
from workbench.latents.shards import LatentClip, clip_tensors
from workbench.media.source import ClipSource
from workbench.models.auto import Choice
from workbench.models.base import Autoencoder
from workbench.ranks import Lockstep
from workbench.records import clip_key, source_record
from workbench.steps import drain
from workbench.tile_settings import Tiling

_VERSION = 1  # of the files in a folder of latents


@dataclass(frozen=True)
class EncodeReport:
    """What an encoding found: clips in the folder now, clips encoded by this run, failures with reasons."""

    clips: int
    encoded: int
    failures: dict[Path, str]


@dataclass(frozen=True)
class Encoding:
    """How every clip is encoded.

    Attributes:
        normalisation: applied to all latents, None to store them as the model gives them.
        identity: of the model, see `identity_of`.
        load: how to load the model again, see `ModelSettings`.
    """

    ae: Autoencoder
    settings: EncodeSettings
    tiling: Tiling
    normalisation: Normalisation | None
    identity: dict[str, Any]
    load: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What all latents have in common, as JSON gives it back."""
        facts = {
            "version": _VERSION,
            **self.identity,
            "load": self.load,
            "policy": policy_record(self.settings, self.tiling, self.ae),
            "latent_dtype": self.settings.latent_dtype,
            "normalisation": self.normalisation and asdict(self.normalisation),
        }
        return json.loads(json.dumps(facts))


def encode_dataset(
    encoding: Encoding, clips: Sequence[Path], ranks: Lockstep, on_clip: OnClip | None = None
) -> EncodeReport:
    """Encode all clips that the folder does not hold yet; every rank calls it, with a folder that all of them see.

    A clip that fails is left out and named; it is tried again next time. A run that is killed at any time leaves every
    finished clip behind, for the next run on any number of ranks.

    Raises:
        ConfigError: the folder holds latents of another model or policy, a clip has changed since it was encoded, or a
            tile size is not legal.
        FileError: the folder cannot be written to.
    """
    folder, world = LatentFolder(Path(encoding.settings.save_dir).expanduser()), ranks.world
    with folder.claimed(encoding.facts) if world.is_main else nullcontext():
        finished, pending = ranks.from_main(folder.recover() if world.is_main else None)
        missing = _missing(clips, finished, folder)
        mine = missing[world.rank :: world.size]
        own = _encode(encoding, mine, pending[world.rank :: world.size], folder, world.rank, on_clip)
        failures = {clip: reason for part in ranks.gather_values(own) for clip, reason in part.items()}
        count = ranks.from_main(folder.write_index() if world.is_main else None)
    return EncodeReport(count, len(missing) - len(failures), failures)


def _missing(clips: Sequence[Path], finished: Mapping[str, LatentClip], folder: LatentFolder) -> list[Path]:
    """The clips that are not encoded yet; ConfigError where a file is no longer the one that was."""
    missing = []
    for clip in clips:
        known = finished.get(clip_key(clip))
        if known is None:
            missing.append(clip)
        elif (known.bytes, known.modified_ns) != tuple(source_record(clip)[n] for n in ("bytes", "modified_ns")):
            raise ConfigError(f"{quoted(clip)}: has changed since it was encoded into {folder.path}; give another one")
    return missing


def _encode(
    encoding: Encoding,
    clips: Sequence[Path],
    pending: list[Path],
    folder: LatentFolder,
    rank: int,
    on_clip: OnClip | None,
) -> dict[Path, str]:
    """Encode this rank's clips and pack them, with the pending ones, into shards of its own; returns the failures."""
    failures, facts = {}, encoding.facts
    for done, path in enumerate(clips, 1):
        choice = None
        try:
            clip, tensors, choice = _encode_one(encoding, path)
        except WorkbenchError as error:
            failures[path] = str(error)
        else:
            pending.append(folder.save(facts, clip_key(path), clip, tensors))
        if sum(part.stat().st_size for part in pending) >= encoding.settings.shard_mb * 1e6:
            folder.pack(pending, rank)
            pending = []
        if on_clip:
            on_clip(failures.get(path), choice, done, len(clips))
    if pending:
        folder.pack(pending, rank)
    return failures


def _encode_one(encoding: Encoding, path: Path) -> tuple[LatentClip, dict[str, Tensor], Choice]:
    source = source_record(path)
    clip, latents, choice = drain(encode_file_steps(encoding.ae, path, encoding.settings, encoding.tiling))
    if encoding.normalisation:
        latents = encoding.normalisation.apply(latents)
    stored = latents.to(torch_dtype(encoding.settings.latent_dtype))
    if not torch.isfinite(stored).all():
        dtype = encoding.settings.latent_dtype
        raise WorkbenchError(f"{quoted(path)}: latents are too large for {dtype}; use `latent_dtype` bfloat16")
    return latent_clip(encoding.ae, clip, source), clip_tensors(clip_key(path), stored, clip.timestamps_s), choice


def latent_clip(ae: Autoencoder, clip: ClipSource, source: Mapping[str, Any]) -> LatentClip:
    """What is kept of a clip beside its latents; `source` is its `source_record`."""
    return LatentClip(
        **source,
        is_image=clip.info.is_image,
        num_frames=clip.num_frames,
        height=clip.height,
        width=clip.width,
        fps=clip.fps,
        latent_shape=ae.latent_shape(clip.num_frames, clip.height, clip.width),
        last_duration_s=clip.last_duration_s,
    )
