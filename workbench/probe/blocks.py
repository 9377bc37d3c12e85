"""Blocks of latents, the frames that they stand for, and what a vision network sees in either.

A block is what the small generator learns (2 x 4 x 4 latents where clips hold them). It is decoded by itself, as a
small clip; of a causal model only blocks at the beginning of a clip can be. Frames of spaces of another stride show
another part of a picture: distances of such spaces do not compare.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled
from workbench.tile_settings import Tiling
from workbench.vision.base import VisionNetwork, mean_features, middle_frames

BLOCK = (2, 4, 4)
"""Latents in time, height and width."""

_AT_ONCE = 16

Place = tuple[int, int, int]
"""Of a block's first latent, in time, height and width."""


def block_of(latents: Sequence[Tensor]) -> Place:
    """The size of the blocks of clips (C, t, h, w): `BLOCK`, as far as all clips hold it."""
    t, h, w = (min(wanted, *(clip.shape[axis] for clip in latents)) for axis, wanted in enumerate(BLOCK, 1))
    return t, h, w


def places(shape: Sequence[int], block: Place, causal: bool) -> list[Place]:
    """Of blocks that lie side by side in latents of shape (t, h, w)."""
    ranges = [range(0, length - size + 1, size) for length, size in zip(shape, block, strict=True)]
    in_time = ranges[0][:1] if causal else ranges[0]
    return [(t, row, column) for t, row, column in product(in_time, ranges[1], ranges[2])]


def cut(clip: Tensor, places: Iterable[Place], block: Place) -> list[Tensor]:
    """Blocks (C, *block) of latents (C, t, h, w)."""
    return [clip[:, *(slice(at, at + size) for at, size in zip(place, block, strict=True))] for place in places]


def decoded_features(
    ae: Autoencoder, network: VisionNetwork, blocks: Sequence[Tensor], tiling: Tiling
) -> Iterator[Tensor]:
    """Features (D,) of a frame for each latent in time of blocks of latents as the model gives them, decoded."""
    frames = ae.frames_of(blocks[0].shape[1])
    for begin in range(0, len(blocks), _AT_ONCE):
        z = torch.stack(list(blocks[begin : begin + _AT_ONCE]))
        y = decode_tiled(ae, z, tiling, frames)[:, :, middle_frames(ae, frames)]
        yield from features_of(network, y.clamp(-1, 1).transpose(1, 2).flatten(0, 1))


def original_features(
    ae: Autoencoder, network: VisionNetwork, x: Tensor, places: Sequence[Place], block: Place
) -> Iterator[Tensor]:
    """The same of the frames themselves: x (3, T, H, W) in [-1, 1], which holds all of the blocks."""
    seen = middle_frames(ae, ae.frames_of(block[0]))
    sides = [size * ae.spatial_stride for size in block[1:]]
    for t, row, column in places:
        top, left = row * ae.spatial_stride, column * ae.spatial_stride
        part = x[:, :, top : top + sides[0], left : left + sides[1]]
        yield from features_of(network, part[:, [t * ae.temporal_stride + frame for frame in seen]].transpose(0, 1))


@torch.no_grad()
def features_of(network: VisionNetwork, frames: Tensor) -> Tensor:
    """One feature (n, D) a frame (n, 3, H, W) in [-1, 1], on the CPU."""
    return mean_features(network, frames.to(network.device)).float().cpu()
