"""How each class of diffusers is called: its ratios, the statistics of its latents, its pixels, what its methods take.

Every ratio is read from an instance and its configuration. A row says only what differs from a causal video model of
1 + k * stride frames whose `encode` and `decode` take a clip and give what diffusers' usually give.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from workbench.models import wan_streams
from workbench.models.diffusers_calls import (
    Moments,
    by_frame,
    decode_allegro,
    decode_clip,
    decode_flux2,
    decode_images,
    decode_single_frames,
    decode_temporally,
    decode_vidtok,
    denoise,
    encode_allegro,
    encode_clip,
    encode_flux2,
    encode_image,
    no_encoder,
    opaque,
    without_alpha,
)
from workbench.models.segment_streams import KANDINSKY6, KVAE
from workbench.stages import Push


class Streams(Protocol):
    """How a class is streamed in time by the caches of its own code."""

    def encode_push(self, vae: Any, finish: Callable[[Tensor], Tensor]) -> Push:
        """Frames of a legal clip to latents; `finish` is given moments (B, 2 * C, n, h, w)."""

    def decode_push(self, vae: Any, prepare: Callable[[Tensor], Tensor]) -> Push:
        """Latents to frames; `prepare` undoes normalisation."""


def _unchanged(vae: Any, x: Tensor) -> Tensor:
    return x


def _configured_channels(vae: Any) -> int:
    return vae.config["latent_channels"]


def _configured_strides(vae: Any) -> tuple[int, int]:
    return vae.config.temporal_compression_ratio, vae.config.spatial_compression_ratio


def _derived_strides(vae: Any) -> tuple[int, int]:
    return vae.temporal_compression_ratio, vae.spatial_compression_ratio


def configured_statistics(vae: Any) -> tuple[Any, Any]:
    """Mean and deviation that latents are normalised by: numbers, one a channel, or one a channel and frame."""
    own = dict(vae.named_buffers(recurse=False))
    mean, std = (own.get(name, vae.config.get(name)) for name in ("latents_mean", "latents_std"))
    return (vae.config.get("shift_factor") or 0.0) if mean is None else mean, 1.0 if std is None else std


@dataclass(frozen=True)
class DiffusersClass:
    """How one class of diffusers is adapted.

    Attributes:
        strides: frames, and pixels of a side, per latent, of an instance.
        channels: channels of the latents that `encode` gives.
        grid: `causal`, 1 + k * stride frames; `clips`, k * stride frames, a single frame being repeated; or `frames`,
            an image model, which takes a clip frame by frame.
        encode, decode: of a clip (1, 3, T, H, W), or of a batch of clips where the grid is `frames`.
        repeat_first: whether `encode` wants the first frame of a clip `stride` times instead of once.
        min_side: the fewest latents of a side that `decode` takes (reflecting padding needs two).
        odd_latents: whether `decode` gives the first frame a latent of its own only if their number is odd.
        statistics: mean and deviation of the latents.
        is_normalised: whether its own methods work on normalised latents, so that there is nothing to take out.
        to_pixels, from_pixels: between [-1, 1] and what the class takes and gives.
        streams: how an instance is streamed, or None.
        latents_of: other classes, and models of this library, that it shares latents with.
        tile_pixels, tile_frames: settings of its own tiles, where it has other ones than 256 pixels and 32 frames.
    """

    strides: Callable[[Any], tuple[int, int]]
    channels: Callable[[Any], int] = _configured_channels
    grid: str = "causal"
    encode: Callable[[Any, Tensor], Moments] = encode_clip
    decode: Callable[[Any, Tensor], Tensor] = decode_clip
    repeat_first: bool = False
    min_side: int = 1
    odd_latents: bool = False
    statistics: Callable[[Any], tuple[Any, Any]] = configured_statistics
    is_normalised: bool = False
    to_pixels: Callable[[Any, Tensor], Tensor] = _unchanged
    from_pixels: Callable[[Any, Tensor], Tensor] = _unchanged
    streams: Callable[[Any], Streams | None] = lambda vae: None
    latents_of: tuple[str, ...] = ()
    tile_pixels: Callable[[Any], int] = lambda vae: 256
    tile_frames: int = 32


def _ltx_strides(vae: Any) -> tuple[int, int]:
    """As the configuration says, or counted from the kind of each level: the sum over `spatio_temporal_scaling` that an
    instance carries otherwise takes levels of one kind for both (diffusers#13601)."""
    config = vae.config
    told = config.get("temporal_compression_ratio"), config.get("spatial_compression_ratio")
    if all(told):
        return told
    kinds = [kind for kind, on in zip(config.downsample_type, config.spatio_temporal_scaling, strict=True) if on]
    frames = config.patch_size_t * 2 ** sum(kind != "spatial" for kind in kinds)
    return frames, config.patch_size * 2 ** sum(kind != "temporal" for kind in kinds)


def _wan_strides(vae: Any) -> tuple[int, int]:
    levels = vae.config.temperal_downsample
    return 2 ** sum(levels), 2 ** len(levels) * (vae.config.get("patch_size") or 1)


def _wan_streams(vae: Any) -> Streams | None:
    """Its code takes frames in fours, whatever the strides of an instance."""
    return wan_streams if _wan_strides(vae)[0] == wan_streams.GROUP else None


def _image_stride(levels: str = "block_out_channels") -> Callable[[Any], tuple[int, int]]:
    """Of an image model that halves its sides between levels."""
    return lambda vae: (1, 2 ** (len(vae.config[levels]) - 1))


def _flux2_statistics(vae: Any) -> tuple[Tensor, Tensor]:
    return vae.bn.running_mean, (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()


_WAN_LIKE: dict[str, Any] = {"channels": lambda vae: vae.config.z_dim}
_IMAGE: dict[str, Any] = {"grid": "frames", "encode": by_frame(encode_image), "decode": decode_images}
_SINGLE_FRAMES: dict[str, Any] = {"grid": "frames", "encode": by_frame(encode_clip), "decode": decode_single_frames}
_QWEN: dict[str, Any] = {**_WAN_LIKE, **_SINGLE_FRAMES, "to_pixels": opaque, "from_pixels": without_alpha}

ADAPTERS: dict[str, DiffusersClass] = {
    "AutoencoderKLHunyuanVideo": DiffusersClass(_configured_strides, latents_of=("hunyuan_vae",)),
    "AutoencoderKLHunyuanVideo15": DiffusersClass(_configured_strides),
    "AutoencoderKLWan": DiffusersClass(_wan_strides, **_WAN_LIKE, streams=_wan_streams),
    "AutoencoderKLCogVideoX": DiffusersClass(
        lambda vae: (vae.config.temporal_compression_ratio, 2 ** (len(vae.config.block_out_channels) - 1)),
        odd_latents=True,
    ),
    "AutoencoderKLLTXVideo": DiffusersClass(_ltx_strides),
    "AutoencoderKLLTX2Video": DiffusersClass(_ltx_strides, min_side=2),
    "LTX2VideoDiffusionDecoderModel": DiffusersClass(
        _derived_strides,
        encode=no_encoder,
        decode=denoise,
        latents_of=("AutoencoderKLLTX2Video",),
        tile_pixels=lambda vae: vae.tile_sample_min_height,
        tile_frames=80,
    ),
    "AutoencoderKLCosmos": DiffusersClass(_configured_strides),
    "AutoencoderKLMochi": DiffusersClass(_derived_strides),
    "AutoencoderKLMagvit": DiffusersClass(_derived_strides),
    "AutoencoderVidTok": DiffusersClass(
        lambda vae: (vae.temporal_compression_ratio, 2 ** len(vae.encoder.spatial_ds)),
        channels=lambda vae: vae.config.z_channels,
        repeat_first=True,
        decode=decode_vidtok,
    ),
    "AutoencoderKLAllegro": DiffusersClass(
        lambda vae: (vae.config.temporal_compression_ratio, vae.spatial_compression_ratio),
        grid="clips",
        encode=encode_allegro,
        decode=decode_allegro,
        tile_pixels=lambda vae: vae.config.sample_size,
        tile_frames=24,
    ),
    "AutoencoderKLKVAEVideo": DiffusersClass(
        lambda vae: (vae.config.temporal_compress_times, 2 ** (len(vae.config.ch_mult) - 1)),
        channels=lambda vae: vae.config.z_channels,
        encode=KVAE.encode,
        decode=KVAE.decode,
        streams=lambda vae: KVAE,
    ),
    "Kandinsky6SRVAE": DiffusersClass(
        _derived_strides, encode=KANDINSKY6.encode, decode=KANDINSKY6.decode, streams=lambda vae: KANDINSKY6
    ),
    "AutoencoderKLMiniMaxH3": DiffusersClass(_derived_strides, grid="clips"),
    "AutoencoderRAE": DiffusersClass(
        lambda vae: (1, vae.decoder_patch_size),
        channels=lambda vae: vae.config.encoder_hidden_size,
        **_IMAGE,
        is_normalised=True,
        statistics=lambda vae: (0.0, 1.0),
    ),
    "AutoencoderKLTemporalDecoder": DiffusersClass(
        _image_stride(), grid="clips", encode=by_frame(encode_image), decode=decode_temporally
    ),
    "AutoencoderKLHunyuanImageRefiner": DiffusersClass(
        lambda vae: (1, vae.config.spatial_compression_ratio), **_SINGLE_FRAMES
    ),
    "AutoencoderDC": DiffusersClass(lambda vae: (1, vae.spatial_compression_ratio), **_IMAGE),
    "AutoencoderKL": DiffusersClass(_image_stride(), **_IMAGE),
    "AutoencoderTiny": DiffusersClass(
        lambda vae: (1, vae.config.upsampling_scaling_factor ** (len(vae.config.encoder_block_out_channels) - 1)),
        **_IMAGE,
        is_normalised=True,
        latents_of=("AutoencoderKL",),
    ),
    "AutoencoderKLFlux2": DiffusersClass(
        lambda vae: (1, 2 ** (len(vae.config.block_out_channels) - 1) * vae.config.patch_size[0]),
        channels=lambda vae: vae.config.latent_channels * vae.config.patch_size[0] ** 2,
        grid="frames",
        encode=by_frame(encode_flux2),
        decode=decode_flux2,
        statistics=_flux2_statistics,
    ),
    "AutoencoderKLHunyuanImage": DiffusersClass(lambda vae: (1, vae.config.spatial_compression_ratio), **_IMAGE),
    "AutoencoderKLKVAE": DiffusersClass(_image_stride("ch_mult"), channels=lambda vae: vae.config.z_channels, **_IMAGE),
    "AutoencoderKLQwenImage": DiffusersClass(lambda vae: (1, _wan_strides(vae)[1]), **_QWEN),
    "AutoencoderKLQwenImage21": DiffusersClass(lambda vae: (1, _wan_strides(vae)[1]), **_QWEN),
}
