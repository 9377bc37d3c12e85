"""TAEHV, small autoencoders for the latents of larger ones, by Ollin Boer Bohan (github.com/madebyollin/taehv, MIT).

Frames go through 2D convolutions one by one. In a memory block a frame sees the one before it too; pooling joins
neighbouring frames and growing parts them. Nothing looks ahead, so that frames are streamed as they come, exactly.
Latents are those that a generator works on: normalised, with nothing to undo. Layers are named as in the published
files (taew2_1, taew2_2, taehv, taehv1_5, taecvx, taeltx_2, taeh3, ... and `_super`), from whose tensors
`architecture_in` reads what they are. Pixels are clamped, as published.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.clip_grid import ClipGrid
from workbench.models.streams import Stream, chain, each, over_frames, sequence
from workbench.models.taehv_layers import (
    Bounded,
    Grow,
    InClips,
    Memory,
    Padded,
    Pool,
    SuperMemory,
    Without,
    conv,
    stream_of,
)
from workbench.stages import LocalStage, Push, Stage

BLOCKS = 3  # memory blocks of a level
_H3_CHANNELS = 24

_TAUGHT_BY: dict[str, tuple[str, ...]] = {
    "taehv": ("AutoencoderKLHunyuanVideo", "hunyuan_vae"),
    "taehv1_5": ("AutoencoderKLHunyuanVideo15",),
    "taew2_1": ("AutoencoderKLWan",),
    "taew2_2": ("AutoencoderKLWan",),
    "taecvx": ("AutoencoderKLCogVideoX",),
    "taeltx_2": ("AutoencoderKLLTX2Video",),
    "taeltx2_3": ("AutoencoderKLLTX2Video",),
    "taeh3": ("AutoencoderKLMiniMaxH3",),
}
"""The models whose latents a published file is for, by its name. Other files are taken at their shapes."""


@dataclass(frozen=True)
class TAEHVConfig:
    """Architecture of a TAEHV; the defaults are taew2_1 and taehv, with 11.3 million parameters."""

    latent_channels: int = setting(16, "channels of the latents")
    patch_size: int = setting(1, "side of the squares of pixels that become channels first")
    encoder_width: int = setting(64, "channels of the encoder")
    encoder_times: tuple[int, ...] = setting((2, 2, 1), "frames that each level of the encoder joins")
    decoder_widths: tuple[int, ...] = setting((256, 128, 64, 64), "channels of the decoder's levels and of its output")
    decoder_times: tuple[int, ...] = setting((1, 2, 2), "frames that each level of the decoder makes of one")
    is_super: bool = setting(False, "the larger decoder, of depthwise convolutions, of the files named `_super`")
    in_clips: bool = setting(False, "MiniMax-H3's frame grid: clips of 17 frames, each encoded by itself")

    def __post_init__(self) -> None:
        for name in ("latent_channels", "patch_size", "encoder_width"):
            check_range(name, getattr(self, name), 1)
        levels = len(self.decoder_times)
        if len(self.encoder_times) != levels or len(self.decoder_widths) != levels + 1:
            raise ConfigError(
                "`encoder_times` and `decoder_times` must be of as many levels, `decoder_widths` of one more"
            )
        if prod(self.encoder_times) != prod(self.decoder_times):
            raise ConfigError("`decoder_times`: the decoder must make as many frames of a latent as the encoder joins")
        if self.in_clips and prod(self.encoder_times) != ClipGrid.stride:
            raise ConfigError(f"`in_clips`: a latent of MiniMax-H3 is {ClipGrid.stride} frames")

    @property
    def temporal_stride(self) -> int:
        return prod(self.encoder_times)

    @property
    def spatial_stride(self) -> int:
        return self.patch_size * 2 ** len(self.encoder_times)


class TAEHV(Autoencoder):
    """A small autoencoder of clips of 1 + k * stride frames, or of MiniMax-H3's frame grid."""

    name = "taehv"
    default_tiling_mode = "stages"

    def __init__(self, config: TAEHVConfig = TAEHVConfig()) -> None:
        super().__init__()
        self.config, self.causal, self._grid = config, not config.in_clips, ClipGrid()
        self.latent_channels = config.latent_channels
        self.temporal_stride, self.spatial_stride = config.temporal_stride, config.spatial_stride
        self.default_tile_frames = self.frames_of(7) if config.in_clips else 33
        self.encoder = nn.Sequential(*_encoder_layers(config))
        self.decoder = nn.Sequential(*(_super_decoder_layers if config.is_super else _decoder_layers)(config))

    @property
    def latents_of(self) -> frozenset[str]:
        stem = self.weights_path.stem.removesuffix("_super") if self.weights_path else ""
        return frozenset(_TAUGHT_BY.get(stem, ()))

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.get_parameter(f"{len(self.decoder) - 1}.weight")

    @property
    def encoder_last_layer(self) -> nn.Parameter:
        return self.encoder.get_parameter(f"{len(self.encoder) - 1}.weight")

    def frames_of(self, latent_frames: int) -> int:
        return self._grid.frames_of(latent_frames) if self.config.in_clips else super().frames_of(latent_frames)

    def latent_frames(self, num_frames: int) -> int:
        return self._grid.latent_frames(num_frames) if self.config.in_clips else super().latent_frames(num_frames)

    def encode_stages(self) -> list[Stage]:
        """The encoder, frame by frame."""
        return [LocalStage("encode", self._encode_push, self.frames_of, cell=(self.spatial_stride, 1))]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """The decoder, latent by latent."""
        cell = (1, self.spatial_stride)
        return [LocalStage("decode", self._decode_push, lambda latents: latents, cell=cell)]

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        return torch.cat(list(self._encode_push(x.shape[2])(x, True)), dim=2), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return torch.cat(list(self._decode_push(z.shape[2])(z, True)), dim=2)

    def _encode_push(self, size: int) -> Push:
        def layers() -> Stream:
            return sequence(*map(stream_of, self.encoder))

        into = over_frames(lambda x: F.pixel_unshuffle(x.add(1).div(2), self.config.patch_size))
        if self.config.in_clips:
            return chain([InClips(self._grid, lambda: sequence(each(into), layers()))], size)
        return chain([Padded(self.temporal_stride - 1), each(into), layers()], size)

    def _decode_push(self, size: int) -> Push:
        period = self._grid.latents * self.temporal_stride if self.config.in_clips else None
        out = over_frames(lambda y: F.pixel_shuffle(y, self.config.patch_size).clamp(0, 1).mul(2).sub(1))
        return chain([*map(stream_of, self.decoder), Without(self.temporal_stride - 1, period), each(out)], size)


def architecture_in(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The architecture of the tensors with these names and shapes; nothing where they are of another model.

    MiniMax-H3's frame grid leaves no trace in them: of the published files only that one has 24 channels.
    """
    if not {"encoder.0.weight", "encoder.17.weight", "decoder.22.weight"} <= shapes.keys():
        return {}
    is_super = "decoder.1.conv.0.weight" in shapes
    channels, width = shapes["encoder.17.weight"][0], shapes["encoder.0.weight"][0]
    growing = [shapes[f"decoder.{i}.conv.weight"] for i in ((7, 14, 21) if is_super else (7, 13, 19))]
    grown = [shape[1] for shape in growing]
    widths = [shapes["decoder.0.weight"][0], *grown] if is_super else [*grown, shapes["decoder.22.weight"][1]]
    return {
        "latent_channels": channels,
        "patch_size": round((shapes["encoder.0.weight"][1] / 3) ** 0.5),
        "encoder_width": width,
        "encoder_times": [shapes[f"encoder.{i}.conv.weight"][1] // width for i in (2, 7, 12)],
        "decoder_widths": widths,
        "decoder_times": [shape[0] // shape[1] for shape in growing],
        "is_super": is_super,
        "in_clips": channels == _H3_CHANNELS,
    }


def _encoder_layers(config: TAEHVConfig) -> Iterable[nn.Module]:
    width = config.encoder_width
    yield from (conv(3 * config.patch_size**2, width), nn.ReLU(inplace=True))
    for times in config.encoder_times:
        yield from (Pool(width, times), conv(width, width, stride=2, bias=False))
        yield from (Memory(width) for _ in range(BLOCKS))
    yield conv(width, config.latent_channels)


def _decoder_layers(config: TAEHVConfig) -> Iterable[nn.Module]:
    widths = config.decoder_widths
    yield from (Bounded(), conv(config.latent_channels, widths[0]), nn.ReLU(inplace=True))
    for width, narrower, times in zip(widths, widths[1:], config.decoder_times, strict=False):
        yield from (Memory(width) for _ in range(BLOCKS))
        yield from (nn.Upsample(scale_factor=2), Grow(width, times), conv(width, narrower, bias=False))
    yield from (nn.ReLU(inplace=True), conv(widths[-1], 3 * config.patch_size**2))


def _super_decoder_layers(config: TAEHVConfig) -> Iterable[nn.Module]:
    widths = config.decoder_widths
    yield nn.Conv2d(config.latent_channels, widths[0], 1, bias=False)
    for width, narrower, times in zip(widths, widths[1:], config.decoder_times, strict=False):
        yield from (SuperMemory(width) for _ in range(BLOCKS))
        yield from (conv(width, 4 * narrower), nn.ReLU(inplace=True), nn.PixelShuffle(2), Grow(narrower, times))
    yield conv(widths[-1], 3 * config.patch_size**2)
