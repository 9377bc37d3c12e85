"""An autoencoder of the `diffusers` library behind the one interface, so that it compares on equal terms.

The classes differ in legal frame counts, latent scaling, extra arguments and what their methods return: a row of
`diffusers_classes.ADAPTERS` says how. Padding, cropping and tiling are those of this library; diffusers' own tiling
stays off, but in models of which it is a part.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.models.base import Autoencoder, DiagonalGaussian
from workbench.models.catalogue import PREFIX
from workbench.models.diffusers_classes import ADAPTERS
from workbench.stages import LocalStage, Push, Stage
from workbench.tiling import pad_end


class DiffusersAutoencoder(Autoencoder):
    """An instance of one of ADAPTERS as an Autoencoder.

    Latents are (z - mean) / std * scaling, with what the model's configuration says of the three. Image models take a
    clip frame by frame. `last_layer` stays None: these models are here to be compared with, not to be trained.
    """

    mean: Tensor
    std: Tensor
    encoder_parts = ("vae.encoder", "vae.quant_conv")

    def __init__(self, vae: Any) -> None:
        super().__init__()
        row = ADAPTERS[type(vae).__name__]
        self.vae, self.config, self.name = vae, vae.config, PREFIX + type(vae).__name__
        self.row, self.causal = row, row.grid == "causal" and vae.config.get("is_causal", True)
        self.temporal_stride, self.spatial_stride = row.strides(vae)
        self.latent_channels = row.channels(vae)
        self.default_tile_pixels = row.tile_pixels(vae)
        self.default_tile_frames = row.tile_frames // self.temporal_stride * self.temporal_stride + int(self.causal)
        if row.streams(vae) is not None:
            self.default_tiling_mode = "stages"  # exact, and what its own code does
        self.scaling_factor = vae.config.get("scaling_factor") or 1.0
        mean, std = row.statistics(vae)
        self.register_buffer("mean", self._per_channel(mean), False)
        self.register_buffer("std", self._per_channel(std), False)
        _switch_off_framewise(vae)

    @property
    def latents_of(self) -> frozenset[str]:
        return frozenset({type(self.vae).__name__, *self.row.latents_of})

    @property
    def normalisation(self) -> tuple[Tensor, Tensor] | None:
        return None if self.row.is_normalised else (self.mean, self.std / self.scaling_factor)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        x = self.row.to_pixels(self.vae, self._whole_clip(x))
        if self.row.repeat_first and self.causal:
            x = torch.cat([x[:, :, :1]] * (self.temporal_stride - 1) + [x], dim=2)
        means, logvars = zip(*(self.row.encode(self.vae, piece) for piece in self._pieces(x)), strict=True)
        mean = torch.cat(means)
        if logvars[0] is None:
            return self._normalised(mean), None
        posterior = DiagonalGaussian(mean, torch.cat(logvars))
        return self._normalised(posterior.sample() if sample_posterior else mean), posterior

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        height, width = (side * self.spatial_stride for side in z.shape[3:])
        z = self._padded_latents(self._plain(z))
        y = torch.cat([self.row.decode(self.vae, piece) for piece in self._pieces(z)])
        y = self.row.from_pixels(self.vae, y)
        return y[:, :, :num_frames, :height, :width]  # without what `_padded_latents` added

    def encode_stages(self) -> list[Stage]:
        """Streamed by the caches of its own code where the class has some; tiled otherwise."""
        streams = self.row.streams(self.vae)
        if streams is None:
            return super().encode_stages()

        def stream(size: int) -> Push:
            return streams.encode_push(self.vae, lambda moments: self._normalised(moments.chunk(2, dim=1)[0]))

        return [LocalStage("encode", stream, self.frames_of, cell=(self.spatial_stride, 1))]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """As `encode_stages`."""
        streams = self.row.streams(self.vae)
        if streams is None:
            return super().decode_stages(is_image)

        def stream(size: int) -> Push:
            return streams.decode_push(self.vae, self._plain)

        return [LocalStage("decode", stream, lambda latents: latents, cell=(1, self.spatial_stride))]

    def _whole_clip(self, x: Tensor) -> Tensor:
        """x, a single frame of it repeated where the network takes no image."""
        return pad_end(x, self.temporal_stride, *x.shape[3:]) if x.shape[2] == 1 and not self.causal else x

    def _pieces(self, x: Tensor) -> Sequence[Tensor]:
        """What the class takes at once: a batch of clips, or a single one, as some classes fail on more."""
        return (x,) if self.row.grid == "frames" else x.split(1)

    def _padded_latents(self, z: Tensor) -> Tensor:
        """Latents grown at their ends to what the class decodes."""
        frames = z.shape[2] + int(self.row.odd_latents and z.shape[2] % 2 == 0)
        return pad_end(z, frames, *(max(side, self.row.min_side) for side in z.shape[3:]))

    def _normalised(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std * self.scaling_factor

    def _plain(self, z: Tensor) -> Tensor:
        return z / self.scaling_factor * self.std + self.mean

    def _per_channel(self, values: Any) -> Tensor:
        """A statistic of the latents (C, 1, 1, 1), or as a scalar where it is one number.

        Cosmos gives one for each of its first frames of latents too; their mean is taken, so that latents do not
        depend on where a clip was cut.
        """
        values = torch.as_tensor(values, dtype=torch.float32)
        return values if values.ndim == 0 else values.reshape(self.latent_channels, -1).mean(1).view(-1, 1, 1, 1)


def _switch_off_framewise(vae: Any) -> None:
    """Stop the class from cutting clips in time by itself, as some do by default."""
    for name in ("use_framewise_encoding", "use_framewise_decoding"):
        if name in vars(vae):
            setattr(vae, name, False)
