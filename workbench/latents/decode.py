"""A folder of latents back to videos: the frames, size and rate of each source as it was encoded."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from workbench.errors import ConfigError, DataError, WeightsError
from workbench.files import plain_stem, quoted, write_errors
from workbench.latents.clips import Normalisation, OnClip, decode_clip
from workbench.latents.folder import LatentFolder
from workbench.latents.shards import REMEDY, LatentClip, Shard
from workbench.media.image import write_image
from workbench.media.writer import VideoWriter
from workbench.models.auto import Choice, within_memory
from workbench.models.base import Autoencoder
from workbench.models.identity import is_same_model
from workbench.ranks import World
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import Tiling


def open_latents(path: Path) -> LatentFolder:
    """A folder that `encode_dataset` filled, perhaps in part.

    Raises:
        DataError: it is none, or holds no latents.
    """
    folder = LatentFolder(path)
    _ = folder.recorded
    return folder


def check_model(folder: LatentFolder, identity: Mapping[str, Any]) -> None:
    """Raise WeightsError unless the latents are of the model with this identity (`identity_of`)."""
    if not is_same_model(folder.recorded, identity):
        known, given = (f"{i['model']} with weights {i['weights_sha256'][:12]}" for i in (folder.recorded, identity))
        raise WeightsError(f"{quoted(folder.path)}: holds latents of {known}; they mean nothing to {given}")


def decoding_tiling(folder: LatentFolder, changes: Mapping[str, Any]) -> Tiling:
    """How the clips were encoded, with fields of it changed: how latents are decoded is no property of theirs.

    What was given for the mode of encoding is left out where the mode is changed.

    Raises:
        ConfigError: a value is out of range, or of no use in this mode.
    """
    known = {"tiling_mode": "tiles"} | folder.recorded["policy"]  # folders from before there were modes
    own_to_mode = {"push_frames", "memory_gb"} if "tiling_mode" in changes else set()
    kept = {name: known[name] for name in Tiling.__dataclass_fields__ if name in known.keys() - own_to_mode}
    return Tiling(**kept | dict(changes))


def stored_clips(folder: LatentFolder) -> list[tuple[Shard, str, LatentClip]]:
    """Every clip with its shard and key, by path.

    Raises:
        DataError: there is none, or a shard is damaged.
    """
    found = [(shard, key, clip) for shard in folder.shards() for key, clip in shard.clips.items()]
    if not found:
        raise DataError(f"{quoted(folder.path)}: no shard is finished yet; run the same encode command again")
    return sorted(found, key=lambda item: item[2].path)


def decode_dataset(
    ae: Autoencoder,
    folder: LatentFolder,
    save_dir: Path,
    tiling: Tiling,
    world: World,
    lossless: bool = False,
    on_clip: OnClip | None = None,
) -> int:
    """Write a video, or a picture for a photo, for every clip; every rank calls it and takes its share.

    Files are named after their sources, with the key instead where several have one name; those that are there are
    replaced.

    Args:
        ae: the model that encoded the clips, see `check_model`.
        lossless: FFV1 in .mkv instead of H.264 in .mp4.

    Returns:
        The number of clips in the folder.

    Raises:
        DataError: there are no latents, or they are damaged.
        ConfigError: a file would take the place of a clip that was encoded.
        FileError: a file cannot be written.
    """
    clips = stored_clips(folder)
    _check_sources_stay([clip.path for _, _, clip in clips], save_dir)
    with write_errors(save_dir):
        save_dir.mkdir(parents=True, exist_ok=True)
    stems = Counter(plain_stem(Path(clip.path)) for _, _, clip in clips)
    mine = clips[world.rank :: world.size]
    for done, (shard, key, clip) in enumerate(mine, 1):
        stem = plain_stem(Path(clip.path))
        extension = ".png" if clip.is_image else ".mkv" if lossless else ".mp4"
        path = save_dir / ((stem if stems[stem] == 1 else key) + extension)
        choice = _decode_one(ae, shard, key, path, tiling)
        if on_clip:
            on_clip(None, choice, done, len(mine))
    return len(clips)


def _check_sources_stay(sources: list[str], save_dir: Path) -> None:
    for source in map(Path, sources):
        if source.parent.resolve() == save_dir.resolve():
            raise ConfigError(f"{quoted(save_dir)}: holds the source {quoted(source.name)}; name another `save_dir`")


def model_latents(shard: Shard, key: str) -> tuple[torch.Tensor, tuple[float, ...] | None]:
    """What `Shard.read` gives, the latents float32 and without normalisation: as the model gave them.

    Raises:
        DataError: the file is damaged.
    """
    latents, times = shard.read(key)
    stored = shard.facts.get("normalisation")
    latents = Normalisation(**stored).undo(latents) if stored else latents.float()
    if not torch.isfinite(latents).all():
        raise DataError(f"{quoted(shard.path)}: the latents of {key} are not finite; {REMEDY}")
    return latents, times


def decoded_frames(
    ae: Autoencoder, shard: Shard, key: str, tiling: Tiling
) -> tuple[Iterator[torch.Tensor], tuple[float, ...] | None]:
    """The frames of a stored clip in order, uint8 (n, 3, H, W), and its timestamps where its rate varies."""
    clip, (latents, times) = shard.clips[key], model_latents(shard, key)
    return decode_clip(ae, latents, clip.num_frames, (clip.height, clip.width), tiling), times


def _decode_one(ae: Autoencoder, shard: Shard, key: str, path: Path, tiling: Tiling) -> Choice:
    """Write one clip, from its beginning again where memory runs out; returns how the model was run."""
    clip = shard.clips[key]

    def attempt(way: Tiling) -> Steps[None]:
        frames, times = decoded_frames(ae, shard, key, way)
        yield from written_steps(frames, path, clip, times)

    size = clip.num_frames, clip.height, clip.width
    return drain(within_memory(ae.decoding_model, size, tiling, attempt))[1]


def written_steps(
    steps: Iterator[torch.Tensor | Progress], path: Path, clip: LatentClip, times: tuple[float, ...] | None
) -> Steps[None]:
    """The frames of a clip, uint8 (n, 3, H, W), as the file `path`; progress among them is passed on.

    Raises:
        FileError: it cannot be written.
    """
    written, lossless = 0, path.suffix == ".mkv"
    video = None if clip.is_image else VideoWriter(path, clip.fps, lossless, clip.last_duration_s)
    with video or nullcontext():
        for frames in steps:
            if isinstance(frames, Progress):
                yield frames
            elif video is None:
                write_image(frames[0], path)
            else:
                video.write(frames, times and times[written : written + len(frames)])
                written += len(frames)
