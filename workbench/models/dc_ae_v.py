"""DC-AE-V, the chunk-causal video autoencoder of DC-VideoGen (arXiv 2509.25182): time / 4, sides / 32 or / 64.

Frames are coded in chunks of 40. Within a chunk every convolution looks both ways in time; into a chunk it looks from
the one before, never from the one after. Parameter names are those of the published checkpoints, which load strictly.

The published code pads clips to whole chunks. Here the last chunk may be shorter: it ends in zeros like every other.
Clips of up to 40 frames, and of 40k, are coded as there.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.checkpointing import run_checkpointed, set_checkpointing
from workbench.models.dc_blocks import BlockList, ResBlock, RMSNorm, blocks_of, conv_layer, last_of, outputs_of
from workbench.models.dc_resampling import Factors
from workbench.models.layer_streams import reach_of, stream_of
from workbench.models.local_blocks import ConvShuffle, ConvUnshuffle, ShuffleDown, ShuffleUp
from workbench.models.streams import chain, each, same, whole_images
from workbench.stages import LocalStage, Push, Stage

TEMPORAL_STRIDE = 4
SIDES, TIME = (1, 2, 2), (TEMPORAL_STRIDE, 1, 1)

PUBLISHED_SCALES = {(32, 32): 0.7241, (32, 64): 0.7614, (32, 128): 0.4457, (32, 256): 0.4752, (64, 128): 0.4752}
"""What latents are multiplied by for diffusion, by spatial stride and latent channels of the published models."""


@dataclass(frozen=True)
class DCAEVConfig:
    """The architecture; the defaults are the published f32t4c32. One more stage of 1024 channels makes f64.

    Stages are listed from the pixels to the latents, for the decoder too. The first works on half the sides, every
    next one but the last on half of that; before the last, time is quartered.

    Raises:
        ConfigError: a value is out of range, or the widths allow no shortcuts.
    """

    widths: tuple[int, ...] = setting((256, 512, 512, 1024, 1024, 1024), "channels of every stage")
    encoder_depths: tuple[int, ...] = setting((5, 10, 4, 4, 4, 4), "residual blocks of every encoder stage")
    decoder_depths: tuple[int, ...] = setting((5, 10, 4, 4, 4, 4), "residual blocks of every decoder stage")
    latent_channels: int = setting(32, "channels of the latents; 64, 128 and 256 are published too, for f64 128")
    chunk_frames: int = setting(40, "frames of a chunk, a multiple of 4")
    scaling_factor: float | None = setting(
        None, "what encode multiplies latents by; by default the published value for such latents, or 1"
    )

    def __post_init__(self) -> None:
        stages = len(self.widths)
        check_range("widths: number of stages", stages, 2)
        for name in ("encoder_depths", "decoder_depths"):
            depths = getattr(self, name)
            if len(depths) != stages:
                raise ConfigError(f"{name}: {len(depths)} values for {stages} stages of widths, give one each")
            check_range(name, min(depths), 0)
        check_range("widths", min(self.widths), 1)
        check_range("latent_channels", self.latent_channels, 1)
        check_range("chunk_frames", self.chunk_frames, TEMPORAL_STRIDE)
        if self.chunk_frames % TEMPORAL_STRIDE:
            raise ConfigError(f"chunk_frames: {self.chunk_frames} is no multiple of {TEMPORAL_STRIDE}")
        if self.scaling_factor is not None and not (isfinite(self.scaling_factor) and self.scaling_factor > 0):
            raise ConfigError(f"scaling_factor: {self.scaling_factor} must be above 0")
        self._check_shuffles()

    @property
    def spatial_stride(self) -> int:
        return 2 ** (len(self.widths) - 1)

    @property
    def scale(self) -> float:
        """What latents are multiplied by."""
        return self.scaling_factor or PUBLISHED_SCALES.get((self.spatial_stride, self.latent_channels), 1.0)

    def factors(self, stage: int) -> Factors:
        """What changes between this stage and the next deeper one."""
        return TIME if stage == len(self.widths) - 2 else SIDES

    def chunk(self, stage: int) -> int:
        """Frames of a chunk in this stage."""
        return self.chunk_frames // (TEMPORAL_STRIDE if stage == len(self.widths) - 1 else 1)

    def _check_shuffles(self) -> None:
        """Four samples become whole channels and back; shortcuts beside repeat or average whole channels."""
        for width in self.widths:
            if width % 4:
                raise ConfigError(f"widths: {width} channels do not split into four samples; use a multiple of 4")
        for width, deeper in pairwise(self.widths):
            if max(4 * width, deeper) % min(4 * width, deeper):
                raise ConfigError(f"widths: {width} before {deeper} allows no shortcut; use a ratio of 1, 2 or 4")


def architecture_in(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The architecture that tensors of these names and shapes tell, with or without a prefix; nothing for others'."""
    ends = "encoder.project_out.conv.weight"
    prefix = next((name.removesuffix(ends) for name in shapes if name.endswith(ends)), None)
    if prefix is None:
        return {}
    told: dict[str, Any] = {"latent_channels": shapes[prefix + ends][0]}
    for side in ("encoder", "decoder"):
        block = re.compile(rf"{re.escape(prefix + side)}\.stages\.(\d+)\.op_list\.\d+\.main\.conv1\.conv\.weight")
        stages = [(int(match[1]), shape[0]) for name, shape in shapes.items() if (match := block.fullmatch(name))]
        told[f"{side}_depths"] = [count for _, count in sorted(Counter(stage for stage, _ in stages).items())]
        told["widths"] = [width for _, width in sorted(set(stages))]
    return told if told["widths"] else {}


class DCAEV(Autoencoder):
    """The DC-AE-V of this configuration, with initial weights as those of the Video DC-AE.

    Latents have no variational part. A single frame is coded as a still clip of 4; clips have 4k frames.
    """

    name = "dc_ae_v"
    temporal_stride = TEMPORAL_STRIDE
    default_tile_frames = 40
    default_tiling_mode = "stages"  # exact: the network is local, and chunks need no overlap

    def __init__(self, config: DCAEVConfig = DCAEVConfig()) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.spatial_stride = config.spatial_stride
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(0.0), torch.tensor(1 / self.config.scale)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.get_parameter("project_out.op_list.2.conv.conv.weight")

    @property
    def encoder_last_layer(self) -> nn.Parameter:
        return self.encoder.get_parameter("project_out.conv.weight")

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Keep only the input of every block for the backward pass; the output layer's too, unless `last_layer_off`."""
        set_checkpointing(self, enabled)
        self.decoder.checkpoint_output = enabled and not last_layer_off

    def encode_stages(self) -> list[Stage]:
        """All of the encoder as one local stage."""
        encoder = self.encoder
        layers = [encoder.project_in, *blocks_of(encoder.stages), encoder.project_out]

        def stream(size: int) -> Push:
            still = whole_images(_as_still_clip, each(same))
            return chain([still, *map(stream_of, layers), each(lambda z: z * self.config.scale)], size)

        reach = reach_of(layers, (self.spatial_stride, 1))
        return [LocalStage("encode", stream, self.frames_of, self.temporal_stride, (self.spatial_stride, 1), reach)]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """All of the decoder as one local stage; an image is decoded at once."""
        decoder = self.decoder
        layers = [decoder.project_in, *blocks_of(reversed(decoder.stages)), *decoder.project_out.op_list]

        def stream(size: int) -> Push:
            if is_image:
                return chain([each(partial(self._decode, num_frames=1))], size)
            return chain([each(lambda z: z / self.config.scale), *map(stream_of, layers)], size)

        cell = 1, self.spatial_stride
        return [LocalStage("decode", stream, lambda latents: latents, 1, cell, reach_of(layers, cell))]

    def decoder_features(self, z: Tensor, num_frames: int) -> Iterator[Tensor]:
        return self.decoder.stage_outputs(z / self.config.scale)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        clip = _as_still_clip(x) if x.shape[2] == 1 else x
        return self.encoder(clip) * self.config.scale, None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return self.decoder(z / self.config.scale)[:, :, :num_frames]


def _as_still_clip(x: Tensor) -> Tensor:
    return x.expand(-1, -1, TEMPORAL_STRIDE, -1, -1)


class Encoder(nn.Module):
    """Frames (B, 3, T, H, W) to unscaled latents (B, C, T / 4, h, w), all of legal shape."""

    def __init__(self, config: DCAEVConfig) -> None:
        super().__init__()
        widths, deepest = config.widths, len(config.widths) - 1
        self.project_in = ConvUnshuffle(3, widths[0], SIDES, config.chunk_frames)
        stages = (self._stage(config, stage) for stage in range(len(widths)))
        self.stages = nn.ModuleList([BlockList([]), *stages])  # the published stage of whole sides, which is empty
        self.project_out = conv_layer(widths[-1], config.latent_channels, chunk=config.chunk(deepest))

    @staticmethod
    def _stage(config: DCAEVConfig, stage: int) -> BlockList:
        width, chunk = config.widths[stage], config.chunk(stage)
        blocks: list[nn.Module] = [ResBlock(width, chunk) for _ in range(config.encoder_depths[stage])]
        if stage + 1 < len(config.widths):
            blocks.append(ShuffleDown(width, config.widths[stage + 1], config.factors(stage), chunk))
        return BlockList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project_in(x)
        for stage in self.stages:
            x = stage(x)
        return self.project_out(x)


class Decoder(nn.Module):
    """Unscaled latents (B, C, t, h, w) to frames (B, 3, 4t, H, W)."""

    checkpoint_output: bool = False

    def __init__(self, config: DCAEVConfig) -> None:
        super().__init__()
        widths, deepest = config.widths, len(config.widths) - 1
        self.project_in = conv_layer(config.latent_channels, widths[-1], chunk=config.chunk(deepest))
        stages = (self._stage(config, stage) for stage in range(len(widths)))
        self.stages = nn.ModuleList([BlockList([]), *stages])
        output = ConvShuffle(widths[0], 3, SIDES, config.chunk_frames)
        self.project_out = BlockList([RMSNorm(widths[0]), nn.SiLU(inplace=True), output])

    @staticmethod
    def _stage(config: DCAEVConfig, stage: int) -> BlockList:
        width, chunk = config.widths[stage], config.chunk(stage)
        blocks: list[nn.Module] = [ResBlock(width, chunk) for _ in range(config.decoder_depths[stage])]
        if stage + 1 < len(config.widths):
            deeper = config.widths[stage + 1]
            blocks.insert(0, ShuffleUp(deeper, width, config.factors(stage), config.chunk(stage + 1)))
        return BlockList(blocks)

    def stage_outputs(self, z: Tensor) -> Iterator[Tensor]:
        """What every stage makes, the deepest first, computed as it is taken."""
        return outputs_of(reversed(self.stages), self.project_in(z))

    def forward(self, z: Tensor) -> Tensor:
        x = last_of(self.stage_outputs(z))
        return run_checkpointed(self.project_out, x, self.checkpoint_output)
