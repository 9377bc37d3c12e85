"""The work of the Latents tab: a clip to a file of latents, or such a file back to a clip, and what is in it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.config import to_dict
from workbench.errors import DataError
from workbench.jobs.choices import LATENTS_EXTENSION, Choices
from workbench.jobs.found_models import plain_name
from workbench.jobs.reconstruct import safe_stem
from workbench.latents.clips import decode_clip_steps, encode_file_steps
from workbench.latents.decode import model_latents, written_steps
from workbench.latents.encode import Encoding, latent_clip
from workbench.latents.settings import EncodeSettings
from workbench.latents.shards import LatentClip, Shard, clip_tensors, read_shard, write_shard
from workbench.models.base import Autoencoder
from workbench.models.catalogue import MODELS
from workbench.models.identity import identity_of, is_same_model
from workbench.models.latent_moments import LatentStatistics, find_statistics
from workbench.models.ref import ModelRef
from workbench.records import source_record
from workbench.steps import Steps

_KEY = "clip"


@dataclass(frozen=True)
class LatentView:
    """Latents in a file, and what is known of them.

    Attributes:
        file: of the kind that `python -m workbench encode` writes, with one clip or more.
        key: of the clip that is shown.
        latents: float32 (C, t, h, w) as the model gives them, without any normalisation.
        statistics: those stored beside the model's weights.
        decoded: the clip that the latents stand for, where they came from a file.
        notes: what a visitor should know, one line each.
    """

    file: Path
    key: str
    clip: LatentClip
    model: str
    latents: Tensor
    statistics: LatentStatistics | None
    decoded: Path | None = None
    notes: tuple[str, ...] = ()


def encode_job(choices: Choices, entry: ModelRef, ae: Autoencoder, folder: Path) -> Steps[LatentView]:
    """Encode a clip into a file in `folder`, yielding a Progress after every tile.

    Raises:
        FileError: the clip is missing or cannot be read, or the disk is full.
        NonFiniteError: a latent is not finite.
    """
    clip, latents, choice = yield from encode_file_steps(ae, choices.path, choices.policy, choices.tiling)
    record = latent_clip(ae, clip, source_record(choices.path) | {"path": choices.path.name})
    path = folder / f"{safe_stem(choices.path)}_latents{LATENTS_EXTENSION}"
    tensors = clip_tensors(_KEY, latents, clip.timestamps_s)
    write_shard(path, _facts(choices, entry, ae), {_KEY: record}, tensors)
    notes = clip.warnings if choice.reason is None else (*clip.warnings, choice.reason)
    return LatentView(path, _KEY, record, plain_name(entry.label), latents, _statistics(entry), notes=notes)


def decode_job(choices: Choices, entry: ModelRef, ae: Autoencoder, folder: Path) -> Steps[LatentView]:
    """Decode the first clip of a file of latents into `folder`, yielding a Progress after every tile.

    Raises:
        DataError: the file is damaged, or not one of latents.
        ShapeError: the latents are not of such a clip, or not of this model.
        FileError: the disk is full.
    """
    shard = read_shard(choices.path)
    if not shard.clips:
        raise DataError(f"{shard.path.name}: holds no clip")
    key, clip = next(iter(shard.clips.items()))
    latents, times = model_latents(shard, key)
    steps = decode_clip_steps(ae, latents, clip.num_frames, (clip.height, clip.width), choices.tiling)
    file = Path(shutil.copy(choices.path, folder / f"{safe_stem(choices.path)}{LATENTS_EXTENSION}"))
    path = folder / f"{safe_stem(choices.path)}_decoded{'.png' if clip.is_image else '.mp4'}"
    yield from written_steps(steps, path, clip, times)
    notes = tuple(_notes(shard, ae))
    return LatentView(file, key, clip, plain_name(entry.label), latents, _statistics(entry), path, notes)


def read_latents(file: Path, key: str) -> Tensor:
    """The latents (C, t, h, w) of a view again, as the model gives them.

    Raises:
        DataError: the file is damaged or gone.
    """
    return model_latents(read_shard(file), key)[0]


def _facts(choices: Choices, entry: ModelRef, ae: Autoencoder) -> dict[str, Any]:
    """What the file says of its latents: as `encode` writes it, without the server's folders."""
    settings = EncodeSettings(**to_dict(choices.policy))
    identity = identity_of(ae) | {"model": plain_name(entry.label)}
    return Encoding(ae, settings, choices.tiling, None, identity, {"name": plain_name(entry.label)}).facts


def _statistics(entry: ModelRef) -> LatentStatistics | None:
    weights = entry.weights or (entry.name in MODELS and MODELS[entry.name].weights)
    return find_statistics(Path(weights)) if weights else None


def _notes(shard: Shard, ae: Autoencoder) -> Iterator[str]:
    if len(shard.clips) > 1:
        yield f"the file holds {len(shard.clips)} clips; this is the first"
    known = {"architecture", "weights_sha256"} <= shard.facts.keys()
    if not known or not is_same_model(shard.facts, identity_of(ae)):
        model = shard.facts.get("model", "another model")
        yield f"the latents were made by {model} with other weights or another number format than the one that decoded"
