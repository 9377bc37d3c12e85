"""What is decoded of latents that no encoder gave: samples of the small generator, and points between latents.

Fréchet distances of frames, by a vision network, or of runs of 16 frames, by I3D (FVD), to those of held-out clips;
that of the decoded held-out latents themselves is the floor that no generator gets under. All of them are of what a
block shows, a small part of a picture, so that FVD does not compare with published ones. Cost: a decoding of as many
blocks as there are held-out ones, for each of the three, and a pass of the network; minutes on a CPU.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from workbench.media.video import to_float
from workbench.metrics.fvd import frechet_distance
from workbench.models.base import Autoencoder
from workbench.probe.blocks import Cut, Place, cut, decoded_blocks, original_blocks
from workbench.probe.channels import Channels
from workbench.probe.eyes import Eye
from workbench.probe.generator import Trained, sample
from workbench.probe.interpolation import halfway
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class Space:
    """A latent space, and what decodes it.

    Attributes:
        latents: (C, t, h, w) of every clip, as the model gives them.
        sizes: frames, height and width of every clip.
        frames: reads a clip by its number, uint8 (T, 3, H, W).
        how: which blocks are decoded.
    """

    ae: Autoencoder
    tiling: Tiling
    latents: Sequence[Tensor]
    channels: Channels
    sizes: Sequence[tuple[int, int, int]]
    frames: Callable[[int], Tensor]
    how: Cut


@dataclass(frozen=True)
class Distances:
    """Distances and the seconds that they took by name, and why some are missing if they are."""

    figures: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def decoded_distances(space: Space, eyes: Sequence[Eye], generator: Trained | None, interpolate: bool) -> Distances:
    """Of the decoded held-out latents, of samples of the generator, and of points between latents as far as asked.

    Held out is every fourth clip, as for the generator.

    Args:
        eyes: each gives distances of its own.
    """
    block = space.how.block_of(space.latents)
    held_out = {index: _inside(space, index, block) for index in range(0, len(space.latents), 4)}
    count = sum(map(len, held_out.values()))
    why_not = [eye.why_not(space.ae.frames_of(block[0]), block[0], count) for eye in eyes]
    found = Distances(notes=[reason for reason in why_not if reason])
    able = [eye for eye, reason in zip(eyes, why_not, strict=True) if not reason]
    if not able:
        return found
    makers: dict[str, Callable[[], list[Tensor]]] = {"decoded": partial(_held_out, space.latents, held_out, block)}
    if generator is not None:
        makers["samples"] = lambda: [space.channels.undo(part) for part in sample(generator, count)]
    if interpolate:
        makers["between"] = partial(_between, space, held_out, block)
    originals = _seen(able, _originals(space, held_out, block))
    for name, make in makers.items():
        begin = time.perf_counter()
        seen = _seen(able, decoded_blocks(space.ae, make(), space.tiling))
        for eye, original, decoded in zip(able, originals, seen, strict=True):
            found.figures[f"{name}_{eye.name}"] = frechet_distance(original, decoded)
        found.seconds[name] = time.perf_counter() - begin
    return found


def _seen(eyes: Sequence[Eye], clips: Iterable[Tensor]) -> list[Tensor]:
    """Features (n, D) by each eye of clips (B, 3, T, H, W) in [-1, 1]."""
    found: list[list[Tensor]] = [[] for _ in eyes]
    for clip in clips:
        for eye, parts in zip(eyes, found, strict=True):
            parts.append(eye.see(clip))
    return [torch.cat(parts) for parts in found]


def _originals(space: Space, held_out: Mapping[int, list[Place]], block: Place) -> Iterable[Tensor]:
    """The frames that the held-out blocks stand for."""
    for index, spots in held_out.items():
        x = to_float(space.frames(index)).transpose(0, 1)
        yield from original_blocks(space.ae, x, spots, block)


def _held_out(latents: Sequence[Tensor], held_out: Mapping[int, list[Place]], block: Place) -> list[Tensor]:
    return [part for index, spots in held_out.items() for part in cut(latents[index], spots, block)]


def _between(space: Space, held_out: Mapping[int, list[Place]], block: Place) -> list[Tensor]:
    """Blocks half-way between held-out and training ones, as the model's latents."""
    standard = [space.channels.standardise(clip) for clip in space.latents]
    training = [
        part
        for index, clip in enumerate(standard)
        if index % 4
        for part in cut(clip, space.how.places(clip.shape[1:], block), block)
    ]
    return [space.channels.undo(part) for part in halfway(_held_out(standard, held_out, block), training)]


def _inside(space: Space, index: int, block: Place) -> list[Place]:
    """Places of blocks that stand for nothing but frames: latents at the ends may stand for padding."""
    ae, (frames, height, width) = space.ae, space.sizes[index]
    steps = space.latents[index].shape[1] if ae.causal else frames // ae.temporal_stride
    return space.how.places((steps, height // ae.spatial_stride, width // ae.spatial_stride), block)
