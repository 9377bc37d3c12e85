"""Calling the classes of diffusers with clips and latents (B, C, T, H, W), in whatever way each wants them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import ConfigError
from workbench.models.catalogue import PREFIX
from workbench.models.streams import over_frames
from workbench.tiling import pad_end

Moments = tuple[Tensor, Tensor | None]
"""Mean and log-variance (B, C, t, h, w) of the plain latents; no log-variance where there is no Gaussian."""

DECODE_TIMESTEP = 0.05  # of decoders that also denoise (LTX-Video): the value its authors recommend


def encode_clip(vae: Any, x: Tensor) -> Moments:
    """The moments of a clip, by the class's own `encode`."""
    return moments(vae.encode(x))


def decode_clip(vae: Any, z: Tensor) -> Tensor:
    """A clip, by the class's own `decode`."""
    extra = {"temb": z.new_tensor([DECODE_TIMESTEP])} if vae.config.get("timestep_conditioning") else {}
    return _sample(vae.decode(z, **extra))


def moments(encoded: Any) -> Moments:
    """What diffusers' `encode` returned, taken apart."""
    if isinstance(encoded, tuple):  # quantised latents and their indices
        return encoded[0], None
    for name in ("latent", "latents"):
        if name in encoded:
            return encoded[name], None
    distribution = encoded.latent_dist
    return distribution.mode(), getattr(distribution, "logvar", None)


def halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance out of an encoder's channels, bounded as in diffusers' DiagonalGaussianDistribution."""
    mean, logvar = both.chunk(2, dim=1)
    return mean, logvar.clamp(-30.0, 20.0)


def _sample(decoded: Any) -> Tensor:
    return decoded if isinstance(decoded, Tensor) else decoded.sample


def by_frame(frame_of: Callable[[Any, Tensor], Moments]) -> Callable[[Any, Tensor], Moments]:
    """The moments of every frame (B, 3, 1, H, W) by itself."""

    def encode(vae: Any, x: Tensor) -> Moments:
        means, logvars = zip(*(frame_of(vae, frame) for frame in x.split(1, dim=2)), strict=True)
        return torch.cat(means, dim=2), None if logvars[0] is None else torch.cat(logvars, dim=2)

    return encode


def encode_image(vae: Any, x: Tensor) -> Moments:
    """The moments of a frame (B, 3, 1, H, W), which the class takes as an image."""
    mean, logvar = moments(vae.encode(x.squeeze(2)))
    return mean.unsqueeze(2), None if logvar is None else logvar.unsqueeze(2)


def decode_images(vae: Any, z: Tensor) -> Tensor:
    """A clip, frame by frame, of a class that gives images."""
    return torch.stack([_sample(vae.decode(frame)) for frame in z.unbind(2)], dim=2)


def decode_single_frames(vae: Any, z: Tensor) -> Tensor:
    """A clip, frame by frame, of a class of images that gives clips of one frame."""
    return torch.cat([_sample(vae.decode(frame)) for frame in z.split(1, dim=2)], dim=2)


def decode_temporally(vae: Any, z: Tensor) -> Tensor:
    """Stable Video Diffusion: frames of several clips in a batch, told apart by their number in a clip."""
    y = vae.decode(z.transpose(1, 2).flatten(0, 1), num_frames=z.shape[2]).sample
    return y.unflatten(0, (-1, z.shape[2])).transpose(1, 2)


def encode_allegro(vae: Any, x: Tensor) -> Moments:
    """Its own `encode` knows tiles of one size only, and leaves out what does not fill one."""
    return halves(over_frames(vae.quant_conv)(vae.encoder(x)))


def decode_allegro(vae: Any, z: Tensor) -> Tensor:
    """As `encode_allegro`."""
    return vae.decoder(over_frames(vae.post_quant_conv)(z))


def decode_vidtok(vae: Any, z: Tensor) -> Tensor:
    """Its own `decode`, which in a model that is not causal drops latents beyond whole groups of 16 frames."""
    return decode_clip(vae, z) if vae.config.is_causal else vae.decoder(z)


def no_encoder(vae: Any, x: Tensor) -> Moments:
    """Of a class that only decodes: always a ConfigError."""
    raise ConfigError(
        f"{PREFIX}{type(vae).__name__} has no encoder; name it as `decoder`, beside an AutoencoderKLLTX2Video"
    )


def denoise(vae: Any, z: Tensor) -> Tensor:
    """LTX-2's diffusion decoder, from the same noise each time; small clips are grown to what its attention needs."""
    z = pad_end(z, *map(max, z.shape[2:], _least_latents(vae.config)))
    return vae.decode(z, generator=torch.Generator(z.device).manual_seed(0)).sample


def _least_latents(config: Any) -> tuple[int, int, int]:
    """Frames, rows and columns of latents of which no neighbourhood is larger than the grid that it is in."""
    kernels = [*config.decoder_stage_kernels, config.decoder_stage5_kernel]
    frames, rows, columns, scale = 1, 1, 1, [1, 1, 1]
    for kernel, stride in zip(kernels, [*config.decoder_upsample_strides, (1, 1, 1)], strict=True):
        frames = max(frames, 1 + -(-(kernel[0] - 1) // scale[0]))  # n latents are 1 + (n - 1) * scale frames
        rows, columns = max(rows, -(-kernel[1] // scale[1])), max(columns, -(-kernel[2] // scale[2]))
        scale = [have * more for have, more in zip(scale, stride, strict=True)]
    return frames, rows, columns


def opaque(vae: Any, x: Tensor) -> Tensor:
    """RGB with an alpha channel of 1, where the model takes one."""
    channels = vae.config.get("in_channels") or vae.config.get("input_channels")
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, 1), value=1.0) if channels == 4 else x


def without_alpha(vae: Any, y: Tensor) -> Tensor:
    """RGB of what has alpha."""
    return y[:, :3]


def encode_flux2(vae: Any, x: Tensor) -> Moments:
    """Latents of FLUX.2 are squares of 2 x 2 of what its encoder gives."""
    mean, logvar = encode_image(vae, x)
    assert logvar is not None, "FLUX.2 is variational"
    return _packed(vae, mean), _packed(vae, logvar)


def _packed(vae: Any, z: Tensor) -> Tensor:
    return F.pixel_unshuffle(z.squeeze(2), vae.config.patch_size[0]).unsqueeze(2)


def decode_flux2(vae: Any, z: Tensor) -> Tensor:
    """As `encode_flux2`."""
    unpacked = over_frames(lambda frames: F.pixel_shuffle(frames, vae.config.patch_size[0]))
    return decode_images(vae, unpacked(z))
