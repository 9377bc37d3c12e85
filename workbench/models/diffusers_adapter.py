"""Autoencoders of the `diffusers` library behind the one interface, so that they compare on equal terms.

The classes differ in legal frame counts, latent scaling, extra arguments and what their methods return. A row of
ADAPTERS says how. Padding, cropping and tiling are those of this library; diffusers' own tiling stays off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from workbench.config import did_you_mean
from workbench.errors import ConfigError, WeightsError, first_line
from workbench.models.base import Autoencoder, DiagonalGaussian
from workbench.models.catalogue import PREFIX
from workbench.models.wan_streams import can_be_streamed, decode_push, encode_push
from workbench.models.weights import check_hub
from workbench.stages import LocalStage, Push, Stage
from workbench.tiling import pad_end

TILE_FRAMES = 32
DECODE_TIMESTEP = 0.05  # of decoders that also denoise (LTX-Video): the value its authors recommend


@dataclass(frozen=True)
class DiffusersClass:
    """How one class of diffusers is adapted.

    Attributes:
        strides: frames, and pixels of a side, per latent, of an instance.
        latent_channels: the name of that setting in its configuration.
        image: whether it takes single images; otherwise it is a causal video model for 1 + k * stride frames.
        repeat_first: whether `encode` wants the first frame of a clip `stride` times instead of once.
        min_side: the fewest latents of a side that `decode` takes (reflecting padding needs two).
        odd_latents: whether `decode` gives the first frame a latent of its own only if their number is odd.
    """

    strides: Callable[[Any], tuple[int, int]]
    latent_channels: str = "latent_channels"
    image: bool = False
    repeat_first: bool = False
    min_side: int = 1
    odd_latents: bool = False


def _configured_strides(vae: Any) -> tuple[int, int]:
    return vae.config.temporal_compression_ratio, vae.config.spatial_compression_ratio


def _derived_strides(vae: Any) -> tuple[int, int]:
    return vae.temporal_compression_ratio, vae.spatial_compression_ratio


def _ltx_strides(vae: Any) -> tuple[int, int]:
    config = vae.config
    kinds = [kind for kind, on in zip(config.downsample_type, config.spatio_temporal_scaling, strict=True) if on]
    frames = config.patch_size_t * 2 ** sum(kind != "spatial" for kind in kinds)
    return frames, config.patch_size * 2 ** sum(kind != "temporal" for kind in kinds)


ADAPTERS: dict[str, DiffusersClass] = {
    "AutoencoderKLHunyuanVideo": DiffusersClass(_configured_strides),
    "AutoencoderKLHunyuanVideo15": DiffusersClass(_configured_strides),
    "AutoencoderKLWan": DiffusersClass(
        lambda vae: (
            2 ** sum(vae.config.temperal_downsample),
            2 ** len(vae.config.temperal_downsample) * (vae.config.patch_size or 1),
        ),
        latent_channels="z_dim",
    ),
    "AutoencoderKLCogVideoX": DiffusersClass(
        lambda vae: (vae.config.temporal_compression_ratio, 2 ** (len(vae.config.block_out_channels) - 1)),
        odd_latents=True,
    ),
    "AutoencoderKLLTXVideo": DiffusersClass(_ltx_strides),
    "AutoencoderKLLTX2Video": DiffusersClass(_ltx_strides, min_side=2),
    "AutoencoderKLCosmos": DiffusersClass(_configured_strides),
    "AutoencoderKLMochi": DiffusersClass(_derived_strides),
    "AutoencoderKLMagvit": DiffusersClass(_derived_strides),
    "AutoencoderVidTok": DiffusersClass(
        lambda vae: (vae.temporal_compression_ratio, 2 ** len(vae.encoder.spatial_ds)),
        latent_channels="z_channels",
        repeat_first=True,
    ),
    "AutoencoderDC": DiffusersClass(lambda vae: (1, vae.spatial_compression_ratio), image=True),
    "AutoencoderKL": DiffusersClass(lambda vae: (1, 2 ** (len(vae.config.block_out_channels) - 1)), image=True),
}


class DiffusersAutoencoder(Autoencoder):
    """An instance of one of ADAPTERS as an Autoencoder.

    Latents are (z - mean) / std * scaling, with what the model's configuration says of the three. Image models take a
    clip frame by frame. `last_layer` stays None: these models are here to be compared with, not to be trained.

    Raises:
        ConfigError: the instance's settings make it another kind of model than its class is adapted for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__()
        row = ADAPTERS[type(vae).__name__]
        if not vae.config.get("is_causal", True):
            raise ConfigError(f"{type(vae).__name__}: is_causal = False is not supported; use a causal model")
        self.vae, self.config, self.name = vae, vae.config, PREFIX + type(vae).__name__
        self.row, self.causal = row, not row.image
        self.temporal_stride, self.spatial_stride = row.strides(vae)
        self.latent_channels = vae.config[row.latent_channels]
        self.default_tile_frames = TILE_FRAMES // self.temporal_stride * self.temporal_stride + int(self.causal)
        self.scaling_factor = vae.config.get("scaling_factor") or 1.0
        self.register_buffer("mean", _statistic(vae, "latents_mean", vae.config.get("shift_factor") or 0.0), False)
        self.register_buffer("std", _statistic(vae, "latents_std", 1.0), False)
        _switch_off_framewise(vae)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        if self.row.repeat_first:
            x = torch.cat([x[:, :, :1]] * (self.temporal_stride - 1) + [x], dim=2)
        means, logvars = zip(*(_moments(self.vae.encode(piece)) for piece in self._pieces(x)), strict=True)
        mean = self._join(means)
        if logvars[0] is None:
            return self._normalised(mean), None
        posterior = DiagonalGaussian(mean, self._join(logvars))
        return self._normalised(posterior.sample() if sample_posterior else mean), posterior

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        height, width = (side * self.spatial_stride for side in z.shape[3:])
        z = self._padded_latents(self._plain(z))
        extra = {"temb": z.new_tensor([DECODE_TIMESTEP])} if self.config.get("timestep_conditioning") else {}
        decoded = [self.vae.decode(piece, **extra) for piece in self._pieces(z)]
        y = self._join([piece if isinstance(piece, Tensor) else piece.sample for piece in decoded])
        return y[:, :, :num_frames, :height, :width]  # without what `_padded_latents` added

    def encode_stages(self) -> list[Stage]:
        """Wan's encoder is streamed by its own caches; the other classes are tiled."""
        if not can_be_streamed(self.vae, self.temporal_stride):
            return super().encode_stages()

        def stream(size: int) -> Push:
            return encode_push(self.vae, lambda moments: self._normalised(moments.chunk(2, dim=1)[0]))

        return [LocalStage("encode", stream, self.frames_of, cell=(self.spatial_stride, 1))]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """As `encode_stages`."""
        if not can_be_streamed(self.vae, self.temporal_stride):
            return super().decode_stages(is_image)

        def stream(size: int) -> Push:
            return decode_push(self.vae, self._plain)

        return [LocalStage("decode", stream, lambda latents: latents, cell=(1, self.spatial_stride))]

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the class takes at once: a batch of frames, or a single clip, as some classes fail on more than one."""
        return x.unbind(2) if self.row.image else x.split(1)

    def _join(self, pieces: Sequence[Tensor]) -> Tensor:
        return torch.stack(tuple(pieces), dim=2) if self.row.image else torch.cat(tuple(pieces))

    def _padded_latents(self, z: Tensor) -> Tensor:
        """Latents grown at their ends to what the class decodes."""
        frames = z.shape[2] + int(self.row.odd_latents and z.shape[2] % 2 == 0)
        return pad_end(z, frames, *(max(side, self.row.min_side) for side in z.shape[3:]))

    def _normalised(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std * self.scaling_factor

    def _plain(self, z: Tensor) -> Tensor:
        return z / self.scaling_factor * self.std + self.mean


def load_diffusers(source: str) -> DiffusersAutoencoder:
    """An autoencoder of diffusers, on the CPU in float32.

    Args:
        source: a name of ADAPTERS (default configuration, random weights), a folder written by
            `save_pretrained` (of the autoencoder, or of a pipeline with a folder `vae`), or org/repo[/folder] on the
            Hugging Face Hub.

    Raises:
        ConfigError: the class is not one of ADAPTERS.
        WeightsError: there is no such folder or repository, or its weights cannot be read.
    """
    if source in ADAPTERS:
        return DiffusersAutoencoder(_diffusers_class(source)())
    if "/" not in source and not Path(source).is_dir():
        _diffusers_class(source)
    location, subfolder = _locate(source)
    if not Path(location).is_dir():
        check_hub(location, "/".join(filter(None, (subfolder, "config.json"))))
    try:
        config = _diffusers_class("AutoencoderKL").load_config(location, subfolder=subfolder)
        cls = _diffusers_class(config.get("_class_name"))
        model = cls.from_pretrained(location, subfolder=subfolder, low_cpu_mem_usage=False)
    except (OSError, ValueError, SafetensorError) as error:
        reason = first_line(error)
        raise WeightsError(f"{PREFIX}{source}: not a folder or Hub repository with weights ({reason})") from None
    adapter = DiffusersAutoencoder(model)
    if Path(location).is_dir():
        adapter.weights_path = Path(location, subfolder or "")
    return adapter


def _diffusers_class(name: str | None) -> Any:
    if name not in ADAPTERS:
        known = ", ".join(ADAPTERS)
        raise ConfigError(f"{PREFIX}{name}: not one of {known}{did_you_mean(str(name), ADAPTERS)}")
    import diffusers

    import workbench.models.torchvision_shim  # noqa: F401 (before a class of diffusers is looked up: that imports torchvision)

    return getattr(diffusers, name)


def _locate(source: str) -> tuple[str, str | None]:
    """Split a folder or Hub name into what diffusers calls the repository and the folder inside it."""
    path = Path(source).expanduser()
    if path.is_dir():
        in_pipeline = not (path / "config.json").is_file() and (path / "vae").is_dir()
        return str(path), "vae" if in_pipeline else None
    owner, repo, *folders = source.split("/")
    return f"{owner}/{repo}", "/".join(folders) or None


def _statistic(vae: Any, name: str, default: float) -> Tensor:
    """A statistic of the latents per channel (C, 1, 1, 1), or the default as a scalar.

    Cosmos gives one for each of its first frames of latents too; their mean is taken, so that latents do not depend on
    where a clip was cut.
    """
    values = dict(vae.named_buffers(recurse=False)).get(name, vae.config.get(name))
    if values is None:
        return torch.tensor(default)
    channels = vae.config[ADAPTERS[type(vae).__name__].latent_channels]
    return torch.as_tensor(values, dtype=torch.float32).view(channels, -1).mean(1).view(channels, 1, 1, 1)


def _switch_off_framewise(vae: Any) -> None:
    """Stop the class from cutting clips in time by itself, as some do by default."""
    for name in ("use_framewise_encoding", "use_framewise_decoding"):
        if name in vars(vae):
            setattr(vae, name, False)


def _moments(encoded: Any) -> tuple[Tensor, Tensor | None]:
    """Mean and log-variance out of what diffusers' `encode` returned; no log-variance where there is no Gaussian."""
    if isinstance(encoded, tuple):  # quantised latents and their indices
        return encoded[0], None
    if "latent" in encoded:
        return encoded.latent, None
    distribution = encoded.latent_dist
    return distribution.mode(), getattr(distribution, "logvar", None)
