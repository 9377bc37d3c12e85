"""Video DC-AE, the deterministic autoencoder of Open-Sora 2.0 (arXiv 2503.09642): time / 4, sides / 32, 128 channels.

The image autoencoder that it grew from is DC-AE (arXiv 2410.10733). Parameter names are those of the released
checkpoint, which loads strictly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.checkpointing import run_checkpointed, set_checkpointing
from workbench.models.dc_blocks import (
    BlockList,
    EfficientViTBlock,
    ResBlock,
    Residual,
    RMSNorm,
    attention_heads,
    blocks_of,
    conv_layer,
    last_of,
)
from workbench.models.dc_resampling import Downsample, Upsample
from workbench.models.layer_streams import Layer
from workbench.models.trunk import decode_stages, encode_stages
from workbench.models.turbo_decoder import TIME_DOUBLINGS, TurboDecoder
from workbench.stages import Stage

TEMPORAL_DOWNSAMPLES = 2


@dataclass(frozen=True)
class VideoDCAEConfig:
    """The architecture; the defaults are the released f32t4c128.

    Stages are listed from the pixels to the latents, for the decoder too. Between two stages the sides are halved,
    and before each of the last two stages time as well: six stages make strides of 4 in time and 32 in space.

    Raises:
        ConfigError: a value is out of range, or the widths allow no shortcuts or no attention heads.
    """

    widths: tuple[int, ...] = setting((128, 256, 512, 512, 1024, 1024), "channels of every stage")
    encoder_depths: tuple[int, ...] = setting((2, 2, 2, 3, 3, 3), "blocks of every encoder stage; 0 is allowed")
    decoder_depths: tuple[int, ...] = setting((3, 3, 3, 3, 3, 3), "blocks of every decoder stage; 0 is allowed")
    latent_channels: int = setting(128, "channels of the latents")
    scaling_factor: float | None = setting(None, "standard deviation of the latents, which encode divides by")
    attention_stages: int = setting(3, "how many of the last stages have EfficientViT instead of residual blocks")
    decoder_widths: tuple[int, ...] | None = setting(
        None, "channels of the stages of a small decoder (Turbo-VAED's shape) in place of the DC-AE's; fewer stages"
    )

    def __post_init__(self) -> None:
        stages = len(self.widths)
        check_range("widths: number of stages", stages, TEMPORAL_DOWNSAMPLES + 1)
        check_range("widths", min(self.widths), 1)
        self._check_depths("encoder_depths", "widths")
        if self.decoder_widths is not None:
            check_range("decoder_widths: number of stages", len(self.decoder_widths), TIME_DOUBLINGS + 1, stages)
            check_range("decoder_widths", min(self.decoder_widths), 1)
        self._check_depths("decoder_depths", "widths" if self.decoder_widths is None else "decoder_widths")
        check_range("latent_channels", self.latent_channels, 1)
        check_range("attention_stages", self.attention_stages, 0, stages)
        if self.scaling_factor is not None and not (isfinite(self.scaling_factor) and self.scaling_factor > 0):
            raise ConfigError(f"scaling_factor: {self.scaling_factor} is not a standard deviation, it must be above 0")
        self._check_shortcuts()
        self._check_heads()

    @property
    def spatial_stride(self) -> int:
        return 2 ** (len(self.widths) - 1)

    @property
    def temporal_stride(self) -> int:
        return 2**TEMPORAL_DOWNSAMPLES

    def halves_time(self, stage: int) -> bool:
        """Whether the step between this stage and the next deeper one changes time as well as sides."""
        return len(self.widths) - 1 - TEMPORAL_DOWNSAMPLES <= stage < len(self.widths) - 1

    def block(self, stage: int) -> nn.Module:
        """A new block of this stage."""
        attends = stage >= len(self.widths) - self.attention_stages
        return (EfficientViTBlock if attends else ResBlock)(self.widths[stage])

    def _check_depths(self, name: str, widths_name: str) -> None:
        depths, stages = getattr(self, name), len(getattr(self, widths_name))
        if len(depths) != stages:
            raise ConfigError(f"{name}: {len(depths)} values for {stages} stages of {widths_name}, give one each")
        check_range(name, min(depths), 0)

    def _check_shortcuts(self) -> None:
        """Shortcuts repeat or average whole channels: one of the two numbers must be a multiple of the other."""
        for name, widths in (("widths", self.widths), ("decoder_widths", self.decoder_widths or self.widths)):
            for stage, (width, deeper) in enumerate(pairwise(widths)):
                for pixels in (4, 8) if stage >= len(widths) - 1 - TEMPORAL_DOWNSAMPLES else (4,):
                    if not _one_divides_the_other(pixels * width, deeper):
                        raise ConfigError(f"{name}: {width} before {deeper} allows no shortcut; use a ratio of 1 or 2")
            if not _one_divides_the_other(self.latent_channels, widths[-1]):
                raise ConfigError(
                    f"latent_channels: {self.latent_channels} must divide {widths[-1]}, the last of {name}"
                )

    def _check_heads(self) -> None:
        for width in self.widths[len(self.widths) - self.attention_stages :]:
            if width % attention_heads(width):
                raise ConfigError(f"widths: {width} channels do not split into attention heads; use a multiple of 32")


def _one_divides_the_other(a: int, b: int) -> bool:
    return max(a, b) % min(a, b) == 0


class VideoDCAE(Autoencoder):
    """The Video DC-AE of this configuration, with the initial weights of the training recipe.

    Latents have no variational part. A single frame is an image and is coded by itself; clips have 4k frames, of
    which 4 give one latent in time. Build it under `torch.device("meta")` to skip the initialisation when weights
    follow.
    """

    name = "video_dc_ae"
    gpu_layout = torch.channels_last_3d  # its convolutions are faster so, and `gpu_kernels` take it

    def __init__(self, config: VideoDCAEConfig = VideoDCAEConfig()) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.temporal_stride = config.temporal_stride
        self.spatial_stride = config.spatial_stride
        self.encoder = Encoder(config)
        self.decoder = _decoder(config)

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(0.0), torch.tensor(self.config.scaling_factor or 1.0)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.last_layer

    @property
    def encoder_last_layer(self) -> nn.Parameter:
        return self.encoder.get_parameter("project_out.main.op_list.0.conv.weight")

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Keep only the input of every block for the backward pass; of the output layer too, unless `last_layer_off`.

        The adaptive adversarial weight takes gradients of the last layer alone: keep that one off.
        """
        set_checkpointing(self, enabled)
        self.decoder.checkpoint_output = enabled and not last_layer_off

    def encode_stages(self) -> list[Stage]:
        encoder = self.encoder
        blocks = blocks_of(encoder.stages)
        layers: list[Layer] = [encoder.project_in, *blocks, encoder.project_out, self._scaled]
        return encode_stages(layers, (self.temporal_stride, self.spatial_stride))

    def decode_stages(self, is_image: bool) -> list[Stage]:
        decoder = self.decoder
        if isinstance(decoder, TurboDecoder):
            return [decoder.local_stage(self._unscaled, is_image)]
        blocks = blocks_of(reversed(decoder.stages))
        return decode_stages([self._unscaled, decoder.project_in, *blocks, decoder.project_out], is_image)

    def decoder_features(self, z: Tensor, num_frames: int) -> Iterator[Tensor]:
        return self.decoder.stage_outputs(self._unscaled(z), num_frames == 1)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        return self._scaled(self.encoder(x)), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return self.decoder(self._unscaled(z), is_image=num_frames == 1)

    def _scaled(self, z: Tensor) -> Tensor:
        return z if self.config.scaling_factor is None else z / self.config.scaling_factor

    def _unscaled(self, z: Tensor) -> Tensor:
        return z if self.config.scaling_factor is None else z * self.config.scaling_factor


def _decoder(config: VideoDCAEConfig) -> "Decoder | TurboDecoder":
    if config.decoder_widths is None:
        return Decoder(config)
    return TurboDecoder(config.latent_channels, config.decoder_widths, config.decoder_depths, config.spatial_stride)


class Encoder(nn.Module):
    """Frames (B, 3, T, H, W) to unscaled latents (B, C, t, h, w), both of legal shape."""

    def __init__(self, config: VideoDCAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.project_in = conv_layer(3, widths[0])
        self.stages = nn.ModuleList(self._stage(config, stage) for stage in range(len(widths)))
        project = BlockList([conv_layer(widths[-1], config.latent_channels)])
        self.project_out = Residual(project, config.latent_channels)

    @staticmethod
    def _stage(config: VideoDCAEConfig, stage: int) -> BlockList:
        blocks: list[nn.Module] = [config.block(stage) for _ in range(config.encoder_depths[stage])]
        if stage + 1 < len(config.widths):
            width, deeper_width = config.widths[stage : stage + 2]
            blocks.append(Downsample(width, deeper_width, config.halves_time(stage)))
        return BlockList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project_in(x)
        for stage in self.stages:
            x = stage(x)
        return self.project_out(x)


class Decoder(nn.Module):
    """Unscaled latents (B, C, t, h, w) to frames (B, 3, T, H, W): T = 4t, or one image."""

    checkpoint_output: bool = False

    def __init__(self, config: VideoDCAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.project_in = Residual(conv_layer(config.latent_channels, widths[-1]), widths[-1])
        self.stages = nn.ModuleList(self._stage(config, stage) for stage in range(len(widths)))
        self.project_out = BlockList([RMSNorm(widths[0]), nn.ReLU(inplace=True), conv_layer(widths[0], 3)])

    @staticmethod
    def _stage(config: VideoDCAEConfig, stage: int) -> BlockList:
        blocks: list[nn.Module] = [config.block(stage) for _ in range(config.decoder_depths[stage])]
        if stage + 1 < len(config.widths):
            width, deeper_width = config.widths[stage : stage + 2]
            blocks.insert(0, Upsample(deeper_width, width, config.halves_time(stage)))
        return BlockList(blocks)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution."""
        return self.get_parameter("project_out.op_list.2.conv.weight")

    def stage_outputs(self, z: Tensor, is_image: bool) -> Iterator[Tensor]:
        """What every stage makes, the deepest first, computed as it is taken."""
        x = self.project_in(z)
        for stage in reversed(self.stages):
            for block in stage.get_submodule("op_list").children():
                x = block(x, is_image) if isinstance(block, Upsample) else block(x)
            yield x

    def forward(self, z: Tensor, is_image: bool) -> Tensor:
        x = last_of(self.stage_outputs(z, is_image))
        return run_checkpointed(self.project_out, x, self.checkpoint_output)
