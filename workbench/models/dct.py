"""A linear autoencoder without weights: the honest baseline of the Video DC-AE's rate.

Every block of 4 frames x 32 x 32 pixels becomes 128 of its 12,288 coefficients in an orthonormal basis: a three-point
DCT over R, G, B (luma and two colour differences) and DCT-II over time, height and width (Ahmed, Natarajan and Rao,
"Discrete Cosine Transform", 1974). The kept coefficients are a fixed zone of low frequencies, as in zonal transform
coding. A single frame is an image: its 32 x 32 blocks keep 128 coefficients of a zone of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.models.streams import chain, each
from workbench.stages import LocalStage, Push, Stage


class Frequency(NamedTuple):
    """A coefficient of the block transform: its frequencies, from 0, over colour, time, height and width."""

    colour: int
    time: int
    vertical: int
    horizontal: int


# The 128 coefficients of largest mean energy, measured at short side 256 on the project's training data only (350
# blocks of 4 frames from 121 clips for video; 121 frames and 122 photographs for images). Sorted by energy they fill a
# corner at the origin of each plane, so it is enough to say how many horizontal frequencies every row (vertical
# frequency 0, 1, ...) keeps. Keys: (colour frequency, temporal frequency).
_Zone = dict[tuple[int, int], tuple[int, ...]]
VIDEO_ZONE: _Zone = {
    (0, 0): (12, 13, 11, 9, 8, 7, 6, 6, 5, 2, 1),
    (0, 1): (4, 3, 3, 1),
    (0, 2): (3, 2, 1),
    (0, 3): (2, 1),
    (1, 0): (5, 4, 3, 3, 1, 1),
    (1, 1): (2, 1),
    (2, 0): (3, 2, 2, 1),
}
IMAGE_ZONE: _Zone = {
    (0, 0): (14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1),
    (1, 0): (5, 4, 3, 3, 1, 1),
    (2, 0): (3, 2, 1),
}


@dataclass(frozen=True)
class DCTConfig:
    """The transform is fixed: there is nothing to set."""


class DCT(Autoencoder):
    """Zonal block DCT: latents are orthonormal coefficients, so the error is exactly the energy of the dropped ones.

    The latent of a grey block of value v in [-1, 1] is v * sqrt(3 * 4 * 32 * 32) in channel 0 (video) and 0 elsewhere;
    latents are not scaled to unit variance.
    """

    name = "dct"
    latent_channels = 128
    temporal_stride = 4
    spatial_stride = 32
    default_tiling_mode = "stages"  # exact, without overlap

    video_basis: Tensor
    image_basis: Tensor

    def __init__(self, config: DCTConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("cpu"):  # on the meta device, indexing first imports torch's compiler for two seconds
            self.register_buffer("video_basis", frequency_basis(frequencies(VIDEO_ZONE), 4, 32), persistent=False)
            self.register_buffer("image_basis", frequency_basis(frequencies(IMAGE_ZONE), 1, 32), persistent=False)

    def encode_stages(self) -> list[Stage]:
        """The transform as one local stage: no block looks at another."""

        def stream(size: int) -> Push:
            return chain([each(lambda x: self._encode(x, False)[0])], size)

        cell = (self.spatial_stride, 1)
        return [LocalStage("encode", stream, self.frames_of, unit=self.temporal_stride, cell=cell, reach=0)]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """The inverse, likewise."""

        def stream(size: int) -> Push:
            return chain([each(lambda z: self._decode(z, 1 if is_image else self.frames_of(z.shape[2])))], size)

        return [LocalStage("decode", stream, lambda latents: latents, cell=(1, self.spatial_stride), reach=0)]

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        return to_coefficients(x, self._basis(x.shape[2])), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return from_coefficients(z, self._basis(num_frames))

    def _basis(self, num_frames: int) -> Tensor:
        return self.image_basis if num_frames == 1 else self.video_basis


def to_coefficients(x: Tensor, basis: Tensor) -> Tensor:
    """Frames (B, 3, T, H, W) to (B, C, t, h, w): products of every block with each vector of a (C, 3, ...) basis."""
    return (to_blocks(x, basis.shape[2:]) @ basis.flatten(1).T).movedim(-1, 1)


def from_coefficients(z: Tensor, basis: Tensor) -> Tensor:
    """Coefficients (B, C, t, h, w) to frames (B, 3, T, H, W): sums of the basis' vectors."""
    return from_blocks(z.movedim(1, -1) @ basis.flatten(1), basis.shape[2:])


def frequencies(zone: _Zone) -> list[Frequency]:
    """The coefficients in `zone`, in its order."""
    return [
        Frequency(*plane, v, u) for plane, rows in zone.items() for v, length in enumerate(rows) for u in range(length)
    ]


def frequency_basis(chosen: Sequence[Frequency], frames: int, side: int) -> Tensor:
    """Orthonormal basis (coefficients, 3, frames, side, side) of these DCT coefficients."""
    matrices = dct_matrix(3), dct_matrix(frames), dct_matrix(side), dct_matrix(side)
    rows = [matrix[list(numbers)] for matrix, numbers in zip(matrices, zip(*chosen, strict=True), strict=True)]
    return torch.einsum("kc,kt,ky,kx->kctyx", *rows).to(torch.get_default_dtype())


def dct_matrix(n: int) -> Tensor:
    """The orthonormal DCT-II of n samples as a float64 matrix (frequency, sample)."""
    frequency, sample = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * sample + 1) * frequency / (2 * n)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


def to_blocks(x: Tensor, block: Sequence[int]) -> Tensor:
    """(B, 3, T, H, W) to (B, t, h, w, 3 * block), each block (frames, rows, columns) of samples in that order."""
    x = x.unflatten(4, (-1, block[2])).unflatten(3, (-1, block[1])).unflatten(2, (-1, block[0]))
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def from_blocks(blocks: Tensor, block: Sequence[int]) -> Tensor:
    """The inverse of `to_blocks`: (B, t, h, w, 3 * block) to (B, 3, T, H, W)."""
    x = blocks.unflatten(4, (3, *block)).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.flatten(6).flatten(4, 5).flatten(2, 3)
