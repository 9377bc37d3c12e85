"""One clip to latents and back, streaming its frames: what `reconstruct_file` does, stopped half-way."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import WeightsError
from workbench.media.policy import ClipPolicy
from workbench.media.source import ClipSource, scanned_steps
from workbench.media.video import to_uint8
from workbench.models.auto import Choice, within_memory
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_pieces, encode_pieces
from workbench.models.latent_moments import LatentStatistics
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import Tiling

OnClip = Callable[[str | None, Choice | None, int, int], None]
"""Called after a clip: why it was left out, or how it was run, and how many of how many of this rank's are done."""


@dataclass(frozen=True)
class Normalisation:
    """Latents per channel brought to mean 0 and deviation 1, and back. A channel that never varied is only shifted."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, latents: Tensor) -> Tensor:
        """Latents (C, t, h, w) of the model, normalised: float32, rounded once."""
        mean, std = self._columns()
        return ((latents.double() - mean) / std).float()

    def undo(self, latents: Tensor) -> Tensor:
        """Normalised latents (C, t, h, w) as the model gave them: float32, rounded once."""
        mean, std = self._columns()
        return (latents.double() * std + mean).float()

    def _columns(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1, 1) for v in (self.mean, self.std))
        return mean, torch.where(std > 0, std, 1.0)


def normalisation_of(statistics: LatentStatistics, ae: Autoencoder, weights_sha256: str) -> Normalisation:
    """The normalisation by these statistics.

    Raises:
        WeightsError: they are those of another model.
    """
    if len(statistics.mean) != ae.latent_channels:
        channels = f"{len(statistics.mean)} channels, {ae.name} has {ae.latent_channels}"
        raise WeightsError(f"`normalise`: these are statistics of {channels}")
    if statistics.weights_sha256 not in ("", weights_sha256):
        other = "with other weights" if statistics.model == ae.name else f"not of {ae.name}"
        raise WeightsError(f"`normalise`: these are statistics of {statistics.model}, {other}")
    return Normalisation(statistics.mean, statistics.std)


def policy_record(policy: ClipPolicy, tiling: Tiling, ae: Autoencoder) -> dict[str, Any]:
    """All that decides the latents besides model and clips, as plain values."""
    return {**policy.record(), **asdict(tiling), "dtype": str(ae.dtype).removeprefix("torch.")}


def encode_clip(ae: Autoencoder, clip: ClipSource, tiling: Tiling) -> Tensor:
    """Float32 latents (C, t, h, w) of a clip on the CPU; of its frames a span in time is held.

    Raises:
        ConfigError: a tile size is not legal for the model.
        MediaError: the clip cannot be read.
        NonFiniteError: a latent is not finite.
    """
    return drain(encode_clip_steps(ae, clip, tiling))[0]


def encode_clip_steps(ae: Autoencoder, clip: ClipSource, tiling: Tiling) -> Steps[tuple[Tensor, Choice]]:
    """`encode_clip` as steps, tiles and pushes; and how it was run."""
    size = clip.num_frames, clip.height, clip.width
    return (yield from within_memory(ae, size, tiling, partial(_encode_once, ae, clip)))


def encode_file_steps(
    ae: Autoencoder, path: Path, policy: ClipPolicy, tiling: Tiling
) -> Steps[tuple[ClipSource, Tensor, Choice]]:
    """A file as the policy takes it, its latents as of `encode_clip`, and how it was run; as steps."""

    def encode(clip: ClipSource) -> Steps[tuple[ClipSource, Tensor, Choice]]:
        return clip, *(yield from encode_clip_steps(ae, clip, tiling))

    return (yield from scanned_steps(path, policy, ae.spatial_stride, encode))


def _encode_once(ae: Autoencoder, clip: ClipSource, tiling: Tiling) -> Steps[Tensor]:
    size, pieces = (clip.num_frames, clip.height, clip.width), []
    with closing(clip.chunks()) as chunks:
        frames = (chunk.transpose(0, 1)[None] for chunk in chunks)
        for piece in encode_pieces(ae, frames, size, tiling):
            if isinstance(piece, Progress):
                yield piece
            else:
                pieces.append(piece[0].cpu())
    return torch.cat(pieces, dim=1)


def decode_clip(
    ae: Autoencoder, latents: Tensor, num_frames: int, size: tuple[int, int], tiling: Tiling
) -> Iterator[Tensor]:
    """Frames of latents (C, t, h, w) in order, uint8 (n, 3, *size) on the CPU, `num_frames` in all.

    Raises:
        ConfigError: a tile size is not legal for the model.
        ShapeError: these are not latents of such a clip.
    """
    steps = decode_clip_steps(ae, latents, num_frames, size, tiling)
    return (piece for piece in steps if not isinstance(piece, Progress))


def decode_clip_steps(
    ae: Autoencoder, latents: Tensor, num_frames: int, size: tuple[int, int], tiling: Tiling
) -> Iterator[Tensor | Progress]:
    """`decode_clip` with a Progress after every tile. What it refuses, it refuses before the first step."""
    ae.decoded_shape(latents[None], num_frames, size)
    pieces = decode_pieces(ae, iter([latents[None]]), (num_frames, *size), tiling)
    return (p if isinstance(p, Progress) else to_uint8(p[0]).transpose(0, 1).cpu() for p in pieces)
