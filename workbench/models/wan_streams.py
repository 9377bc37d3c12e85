"""Wan's autoencoder streamed in time, by the caches of diffusers' own code.

Its convolutions are causal and its attention stays inside a frame. `AutoencoderKLWan` itself works through a clip one
latent after another, each layer keeping the frames that it needs again, but takes the whole clip and gives all of it.
Here the clip comes and goes piece by piece. HunyuanVideo 1.5 does not fit: its attention runs over all frames.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from workbench.models.streams import Waiting
from workbench.stages import Push

GROUP = 4
"""Frames of every latent but the first, which has one: as in diffusers' `_encode`."""


def encode_push(vae: Any, finish: Callable[[Tensor], Tensor]) -> Push:
    """Frames (B, 3, n, H, W), 1 + 4k in all, to latents; `finish` is given moments (B, 2 * C, 1, h, w) of each."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    caches, waiting, begun = _caches(vae, "encoder"), Waiting(), False

    def push(x: Tensor, is_last: bool) -> Iterator[Tensor]:
        nonlocal begun
        waiting.add(x if vae.config.patch_size is None else patchify(x, vae.config.patch_size))
        while waiting.count >= (GROUP if begun else 1):
            piece = waiting.take(GROUP if begun else 1)
            begun = True
            yield finish(vae.quant_conv(vae.encoder(piece, feat_cache=caches, feat_idx=[0])))

    return push


def decode_push(vae: Any, prepare: Callable[[Tensor], Tensor]) -> Push:
    """Latents (B, C, n, h, w) to frames, 1 of the first latent and 4 of each other; `prepare` undoes normalisation."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    caches, begun = _caches(vae, "decoder"), False

    def push(z: Tensor, is_last: bool) -> Iterator[Tensor]:
        nonlocal begun
        for latent in vae.post_quant_conv(prepare(z)).split(1, dim=2):
            y = vae.decoder(latent, feat_cache=caches, feat_idx=[0], first_chunk=not begun)
            begun = True
            if vae.config.patch_size is not None:
                y = unpatchify(y, patch_size=vae.config.patch_size)
            yield torch.clamp(y, -1.0, 1.0)

    return push


def _caches(vae: Any, part: str) -> list[Any]:
    return [None] * vae._cached_conv_counts[part]
