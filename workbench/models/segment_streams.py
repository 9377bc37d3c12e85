"""Video autoencoders of Kandinsky streamed in time, by the caches of diffusers' own code.

Their causal convolutions keep the frames that the next segment of a clip needs. KVAE 3D normalises over a segment, so
that its segments of 16 frames are a part of the model; Kandinsky 6's may have any length.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.models.diffusers_calls import halves
from workbench.models.streams import Waiting
from workbench.stages import Push


@dataclass(frozen=True)
class Segments:
    """How a class is streamed. A first segment has a frame, or latent, more than the others.

    Attributes:
        latents: of a segment.
        stride: frames of a latent, of an instance.
        encoder_cache, decoder_cache: make empty ones, of an instance.
        joined: whether a last latent that would be a segment of its own is decoded with those before it: KVAE 3D takes
            a single latent for an image, and its own `decode` gives too few frames then (21, 37, ... frames).
    """

    latents: int
    stride: Callable[[Any], int]
    encoder_cache: Callable[[Any], Any]
    decoder_cache: Callable[[Any], Any]
    joined: bool = False

    def encode_push(self, vae: Any, finish: Callable[[Tensor], Tensor]) -> Push:
        """Frames (B, 3, n, H, W) to latents; `finish` is given moments (B, 2 * C, n, h, w)."""
        cache, frames, waiting, begun = self.encoder_cache(vae), self.latents * self.stride(vae), Waiting(), False

        def push(x: Tensor, is_last: bool) -> Iterator[Tensor]:
            nonlocal begun
            waiting.add(x)
            while waiting.count and (is_last or waiting.count >= frames + (not begun)):
                segment = waiting.take(min(waiting.count, frames + (not begun)))
                begun = True
                yield finish(vae.encoder(segment, cache))

        return push

    def decode_push(self, vae: Any, prepare: Callable[[Tensor], Tensor]) -> Push:
        """Latents (B, C, n, h, w) to frames, 1 of the first, `stride` of others; `prepare` undoes normalisation."""
        cache, spare, waiting, begun = self.decoder_cache(vae), int(self.joined), Waiting(), False

        def push(z: Tensor, is_last: bool) -> Iterator[Tensor]:
            nonlocal begun
            waiting.add(prepare(z))
            while waiting.count and (is_last or waiting.count > self.latents + (not begun) + spare):
                count = self.latents + (not begun)
                segment = waiting.take(waiting.count if waiting.count <= count + spare else count)
                begun = True
                yield vae.decoder(segment, cache)

        return push

    def encode(self, vae: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of a whole clip."""
        return halves(torch.cat(list(self.encode_push(vae, lambda part: part)(x, True)), dim=2))

    def decode(self, vae: Any, z: Tensor) -> Tensor:
        """A whole clip."""
        return torch.cat(list(self.decode_push(vae, lambda part: part)(z, True)), dim=2)


KVAE = Segments(
    latents=4,
    stride=lambda vae: vae.config.temporal_compress_times,
    encoder_cache=lambda vae: vae._make_encoder_cache(),
    decoder_cache=lambda vae: vae._make_decoder_cache(),
    joined=True,
)
KANDINSKY6 = Segments(
    latents=1,
    stride=lambda vae: vae.temporal_compression_ratio,
    encoder_cache=lambda vae: vae.encoder.make_cache(),
    decoder_cache=lambda vae: vae.decoder.make_cache(),
)
