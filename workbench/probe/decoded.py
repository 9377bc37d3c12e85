"""What is decoded of latents that no encoder gave: samples of the small generator, and points between latents.

Fréchet distances of frames, by a vision network, to those of held-out clips; that of the decoded held-out latents
themselves is the floor that no generator gets under. FVD would need 16 frames in one piece, and a block has fewer.
Cost: a decoding of as many blocks as there are held-out ones, for each of the three; minutes on a CPU.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.media.video import to_float
from workbench.metrics.fvd import frechet_distance
from workbench.models.base import Autoencoder
from workbench.probe.blocks import Place, block_of, cut, decoded_features, original_features, places
from workbench.probe.channels import Channels
from workbench.probe.generator import Trained, sample
from workbench.probe.interpolation import halfway
from workbench.tile_settings import Tiling
from workbench.vision.base import VisionNetwork


@dataclass(frozen=True)
class Space:
    """A latent space, and what decodes and looks.

    Attributes:
        latents: (C, t, h, w) of every clip, as the model gives them.
        sizes: frames, height and width of every clip.
        frames: reads a clip by its number, uint8 (T, 3, H, W).
    """

    ae: Autoencoder
    network: VisionNetwork
    tiling: Tiling
    latents: Sequence[Tensor]
    channels: Channels
    sizes: Sequence[tuple[int, int, int]]
    frames: Callable[[int], Tensor]


@dataclass(frozen=True)
class Distances:
    """Distances and the seconds that they took by name, and why they are missing if they are."""

    figures: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""


def decoded_distances(space: Space, generator: Trained | None, interpolate: bool) -> Distances:
    """Of the decoded held-out latents, of samples of the generator, and of points between latents as far as asked.

    Held out is every fourth clip, as for the generator.
    """
    block = block_of(space.latents)
    held_out = {index: _inside(space, index, block) for index in range(0, len(space.latents), 4)}
    there, needed = block[0] * sum(map(len, held_out.values())), space.network.channels + 1
    if there < needed:
        wanted = f"{space.network.channels} features of {space.network.source} take {needed} frames of held-out clips"
        return Distances(note=f"no Fréchet distances: {wanted}, there are {there}; give more clips, or longer ones")
    makers = {"decoded_fd": lambda: _held_out(space.latents, held_out, block)}
    if generator is not None:
        count = sum(map(len, held_out.values()))
        makers["samples_fd"] = lambda: [space.channels.undo(part) for part in sample(generator, count)]
    if interpolate:
        makers["ifid"] = lambda: _between(space, held_out, block)
    originals, found = _originals(space, held_out, block), Distances()
    for name, make in makers.items():
        begin = time.perf_counter()
        decoded = torch.stack(list(decoded_features(space.ae, space.network, make(), space.tiling)))
        found.figures[name] = frechet_distance(originals, decoded)
        found.seconds[name] = time.perf_counter() - begin
    return found


def _originals(space: Space, held_out: Mapping[int, list[Place]], block: Place) -> Tensor:
    """Features of the frames that the held-out blocks stand for."""
    found: list[Tensor] = []
    for index, spots in held_out.items():
        x = to_float(space.frames(index)).transpose(0, 1)
        found += original_features(space.ae, space.network, x, spots, block)
    return torch.stack(found)


def _held_out(latents: Sequence[Tensor], held_out: Mapping[int, list[Place]], block: Place) -> list[Tensor]:
    return [part for index, spots in held_out.items() for part in cut(latents[index], spots, block)]


def _between(space: Space, held_out: Mapping[int, list[Place]], block: Place) -> list[Tensor]:
    """Blocks half-way between held-out and training ones, as the model's latents."""
    standard = [space.channels.standardise(clip) for clip in space.latents]
    training = [
        part
        for index, clip in enumerate(standard)
        if index % 4
        for part in cut(clip, places(clip.shape[1:], block, space.ae.causal), block)
    ]
    return [space.channels.undo(part) for part in halfway(_held_out(standard, held_out, block), training)]


def _inside(space: Space, index: int, block: Place) -> list[Place]:
    """Places of blocks that stand for nothing but frames: latents at the ends may stand for padding."""
    ae, (frames, height, width) = space.ae, space.sizes[index]
    steps = space.latents[index].shape[1] if ae.causal else frames // ae.temporal_stride
    return places((steps, height // ae.spatial_stride, width // ae.spatial_stride), block, ae.causal)
