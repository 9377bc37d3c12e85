"""Representation autoencoders (arXiv 2510.11690, of diffusers): of images of one size, so that others go in squares.

The encoder is a vision network and takes squares of one size; the decoder's positions are made for them. A frame is cut
into such squares without overlap, each an image to the model; those at its ends are filled up by repeating its border.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workbench.models.base import DiagonalGaussian
from workbench.models.diffusers_autoencoder import DiffusersAutoencoder
from workbench.stages import LocalStage, Push, Stage


class RAE(DiffusersAutoencoder):
    """An instance of AutoencoderRAE as an Autoencoder. Its own methods normalise latents and pixels."""

    tiles_are_own = True

    def __init__(self, vae: Any) -> None:
        super().__init__(vae)
        self.scaling_factor = 1.0  # its own methods apply it
        self.default_tile_pixels = vae.decoder_image_size

    def legal_side(self, pixels: int) -> int:
        """A whole number of squares."""
        return -(-pixels // self.default_tile_pixels) * self.default_tile_pixels

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        frames = x.add(1).div(2).unbind(2)
        squares = [in_squares(lambda part: self.vae.encode(part).latent, f, self.default_tile_pixels) for f in frames]
        return torch.stack(squares, dim=2), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        side = self.default_tile_pixels // self.spatial_stride
        frames = [in_squares(lambda part: self.vae.decode(part).sample, frame, side) for frame in z.unbind(2)]
        return torch.stack(frames, dim=2).mul(2).sub(1)

    def encode_stages(self) -> list[Stage]:
        """Frame by frame."""

        def stream(size: int) -> Push:
            return lambda x, is_last: iter([self._encode(x, False)[0]])

        return [LocalStage("encode", stream, self.frames_of, cell=(self.spatial_stride, 1))]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """As `encode_stages`."""

        def stream(size: int) -> Push:
            return lambda z, is_last: iter([self._decode(z, z.shape[2])])

        return [LocalStage("decode", stream, lambda latents: latents, cell=(1, self.spatial_stride))]


def in_squares(function: Callable[[Tensor], Tensor], images: Tensor, side: int) -> Tensor:
    """A function of squares (B, C, side, side) over images whose sides are multiples of it."""
    rows = (torch.cat([function(part) for part in row.split(side, dim=3)], dim=3) for row in images.split(side, dim=2))
    return torch.cat(list(rows), dim=2)
