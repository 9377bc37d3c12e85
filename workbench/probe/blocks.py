"""Blocks of latents, and the frames that they stand for.

A block is what the small generator learns (2 x 4 x 4 latents where clips hold them). It is decoded by itself, as a
small clip; of a causal model only blocks at the beginning of a clip can be. Frames of spaces of another stride show
another part of a picture: distances of such spaces do not compare.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled
from workbench.tile_settings import Tiling

SIDE = 4
"""Latents of a block in height and in width."""

_AT_ONCE = 16

Place = tuple[int, int, int]
"""Of a block's first latent, in time, height and width."""


@dataclass(frozen=True)
class Cut:
    """How clips are cut into blocks.

    Attributes:
        in_time: latents in time.
        causal: blocks begin where their clip does, as those of a causal model that are decoded.
    """

    in_time: int = 2
    causal: bool = False

    def block_of(self, latents: Sequence[Tensor]) -> Place:
        """The size of the blocks of clips (C, t, h, w), as far as all clips hold it."""
        whole = (self.in_time, SIDE, SIDE)
        t, h, w = (min(wanted, *(clip.shape[axis] for clip in latents)) for axis, wanted in enumerate(whole, 1))
        return t, h, w

    def places(self, shape: Sequence[int], block: Place) -> list[Place]:
        """Of blocks that lie side by side in latents of shape (t, h, w)."""
        ranges = [range(0, length - size + 1, size) for length, size in zip(shape, block, strict=True)]
        in_time = ranges[0][:1] if self.causal else ranges[0]
        return [(t, row, column) for t, row, column in product(in_time, ranges[1], ranges[2])]

    def draw(self, shape: Sequence[int], block: Place, random: torch.Generator) -> Place:
        """The place of any block in latents of shape (t, h, w)."""
        t, h, w = (
            int(torch.randint(length - size + 1, (), generator=random))
            for length, size in zip(shape, block, strict=True)
        )
        return (0 if self.causal else t), h, w


AS_USUAL = Cut()


def cut(clip: Tensor, places: Iterable[Place], block: Place) -> list[Tensor]:
    """Blocks (C, *block) of latents (C, t, h, w)."""
    return [clip[:, *(slice(at, at + size) for at, size in zip(place, block, strict=True))] for place in places]


def decoded_blocks(ae: Autoencoder, blocks: Sequence[Tensor], tiling: Tiling) -> Iterator[Tensor]:
    """Clips (B, 3, T, H, W) in [-1, 1] that blocks of latents, as the model gives them, decode to."""
    frames = ae.frames_of(blocks[0].shape[1])
    for begin in range(0, len(blocks), _AT_ONCE):
        z = torch.stack(list(blocks[begin : begin + _AT_ONCE]))
        yield decode_tiled(ae, z, tiling, frames).clamp(-1, 1)


def original_blocks(ae: Autoencoder, x: Tensor, places: Sequence[Place], block: Place) -> Iterator[Tensor]:
    """The frames (1, 3, T, H, W) that blocks stand for: of x (3, T, H, W) in [-1, 1], which holds all of them."""
    frames = ae.frames_of(block[0])
    height, width = (size * ae.spatial_stride for size in block[1:])
    for t, row, column in places:
        first, top, left = t * ae.temporal_stride, row * ae.spatial_stride, column * ae.spatial_stride
        yield x[None, :, first : first + frames, top : top + height, left : left + width]
