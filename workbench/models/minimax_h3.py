"""MiniMax-H3's video autoencoder (of diffusers), streamed in time, in its own tiles.

Its encoder takes clips of 17 frames, each by itself, and the last 3 latents are dropped; its decoder, a transformer,
takes 7 latents, of which the next clip takes the last 2 again, and cross-fades. So 17n + 5 frames are 5n + 2 latents.

The transformer's positions are relative to the grid that it sees: frames larger than a tile are decoded well in tiles
of 256 pixels that share 64, and badly in one piece (36.4 against 21.5 dB, Wan2GP#2367). They are a part of the model.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from workbench.models.base import DiagonalGaussian
from workbench.models.clip_grid import ClipGrid
from workbench.models.diffusers_autoencoder import DiffusersAutoencoder
from workbench.models.diffusers_calls import halves
from workbench.models.streams import Waiting
from workbench.stages import LocalStage, Push, Stage
from workbench.tiling import pad_end

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of pixels in [0, 1]


class MiniMaxH3(DiffusersAutoencoder):
    """An instance of AutoencoderKLMiniMaxH3 as an Autoencoder.

    A photo has one latent, as where the model is conditioned on an image; it is decoded as a clip that stands still.
    The published code never decodes one.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    tiles_are_own = True

    def __init__(self, vae: Any) -> None:
        super().__init__(vae)
        self.default_tile_pixels = vae.tile_sample_min_height
        self._clip, self._group = vae.config.clip_length, vae.tokens_chunk_size
        self._grid = ClipGrid(self._clip, self._group, vae.config.token_drop, self.temporal_stride)
        self.default_tile_frames = self.frames_of(2 * self._group - vae.config.token_drop)
        self.register_buffer("pixel_mean", torch.tensor(_MEAN).view(3, 1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(_STD).view(3, 1, 1, 1), False)

    def frames_of(self, latent_frames: int) -> int:
        return self._grid.frames_of(latent_frames)

    def latent_frames(self, num_frames: int) -> int:
        return self._grid.latent_frames(num_frames)

    def legal_side(self, pixels: int) -> int:
        """At least two latents: its convolutions reflect at borders."""
        return max(super().legal_side(pixels), 2 * self.spatial_stride)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        posterior = DiagonalGaussian(*halves(torch.cat(list(self._encode_push(lambda part: part)(x, True)), dim=2)))
        return self._normalised(posterior.sample() if sample_posterior else posterior.mean), posterior

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return torch.cat(list(self._decode_push()(z, True)), dim=2)[:, :, :num_frames]

    def encode_stages(self) -> list[Stage]:
        """Streamed in clips of 17 frames."""

        def stream(size: int) -> Push:
            return self._encode_push(lambda moments: self._normalised(moments.chunk(2, dim=1)[0]))

        return [LocalStage("encode", stream, self.frames_of, cell=(self.spatial_stride, 1))]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """Streamed in groups of 5 latents, each with the 2 that follow."""
        cell = (1, self.spatial_stride)
        return [LocalStage("decode", lambda size: self._decode_push(), lambda latents: latents, cell=cell)]

    def _encode_push(self, finish: Callable[[Tensor], Tensor]) -> Push:
        """Frames (B, 3, n, H, W), 1 or 17n + 5 in all, to latents; `finish` is given moments (B, 2 * C, n, h, w)."""
        frames, moments, begun = Waiting(), Waiting(), False

        def push(x: Tensor, is_last: bool) -> Iterator[Tensor]:
            """The latents that are finished by these frames."""
            nonlocal begun
            is_image, begun = is_last and not begun and x.shape[2] == 1, True
            frames.add((x.add(1).div(2) - self.pixel_mean) / self.pixel_std)
            if is_image:
                yield finish(self.vae._encode_clip(frames.take(1)))
                return
            while frames.count >= self._clip or (is_last and frames.count):
                clip = frames.take(min(frames.count, self._clip))
                moments.add(self.vae._encode_clip(pad_end(clip, self._clip, *clip.shape[3:])))
            if (ready := moments.count - self.vae.config.token_drop) > 0:
                yield finish(moments.take(ready))

        return push

    def _decode_push(self) -> Push:
        """Latents (B, C, n, h, w) to frames; the last are repeated to the fewest that the decoder takes."""
        held: list[Tensor] = []  # latents of clips to come
        fading: Tensor | None = None  # frames that the next clip fades in over
        fewest = self._group + self.vae.token_overlap

        def push(z: Tensor, is_last: bool) -> Iterator[Tensor]:
            """The frames that are finished by these latents."""
            nonlocal fading
            z = torch.cat([*held, self._plain(z)], dim=2)
            if is_last and fading is None:
                z = pad_end(z, max(fewest, z.shape[2]), *z.shape[3:])
            while z.shape[2] >= fewest:
                clip, after = self._decode_clip(z[:, :, :fewest])
                yield self._signed(clip if fading is None else self.vae._blend(fading, clip, after.shape[2], dim=2))
                z, fading = z[:, :, self._group :], after
            held[:] = [z]
            if is_last and fading is not None:
                yield self._signed(fading)

        return push

    def _decode_clip(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The frames of a clip's own latents, and of those that it shares with the next."""
        first, after = self.vae._decode_clip(z).split(self._group * self.temporal_stride, dim=2)
        skip = self.vae.frame_pre_padding
        return first[:, :, skip:], after[:, :, skip:]

    def _signed(self, y: Tensor) -> Tensor:
        """Pixels as the network gives them, in [-1, 1]."""
        return (y * self.pixel_std + self.pixel_mean) * 2 - 1
