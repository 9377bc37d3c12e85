"""The causal 3D VAE of HunyuanVideo (arXiv 2412.03603), time 4, height and width 8, 16 latent channels.

Parameters are named as in the published weights, so `hunyuan_vae.safetensors` loads with strict=True.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder, DiagonalGaussian
from workbench.models.causal_blocks import (
    NORM_GROUPS,
    CausalConv3d,
    DownBlock,
    MidBlock,
    UpBlock,
    group_norm,
    norm_silu,
)
from workbench.models.checkpointing import run_checkpointed, set_checkpointing

# Of (T, H, W) after each level: halved in the encoder, doubled in the decoder.
SCALES = ((1, 2, 2), (2, 2, 2), (2, 2, 2), None)
LEVELS = len(SCALES)
LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class HunyuanVAEConfig:
    """Architecture of a HunyuanVAE; the defaults are the published model with 246,478,803 parameters."""

    widths: tuple[int, ...] = setting(
        (128, 256, 512, 512),
        f"channels of the {LEVELS} levels, finest first: multiples of {NORM_GROUPS}, above it for the last two",
    )
    layers_per_block: int = setting(2, "ResNet blocks of an encoder level; a decoder level has one more")
    latent_channels: int = setting(16, "channels of the latents")
    scaling_factor: float = setting(0.476986, "latents are the posterior's values times this: about unit variance")

    def __post_init__(self) -> None:
        if len(self.widths) != LEVELS or any(width < 1 or width % NORM_GROUPS for width in self.widths):
            raise ConfigError(f"`widths`: {self.widths} must be {LEVELS} multiples of {NORM_GROUPS}")
        if NORM_GROUPS in self.widths[-2:]:  # an image of 8x8 pixels would leave one value to normalise in a group
            raise ConfigError(f"`widths`: {self.widths}: the last two must be at least {2 * NORM_GROUPS}")
        check_range("layers_per_block", self.layers_per_block, 1)
        check_range("latent_channels", self.latent_channels, 1)
        if not 0.0 < self.scaling_factor < float("inf"):
            raise ConfigError(f"`scaling_factor`: {self.scaling_factor} must be positive")


class HunyuanVAE(Autoencoder):
    """A variational autoencoder of clips of 1 + 4k frames; the first frame has a latent of its own.

    Its convolutions and attention look back in time only. Group normalisation takes its statistics over the whole clip,
    so a clip cut in time is never reconstructed exactly as the whole.
    """

    name = "hunyuan_vae"
    temporal_stride = 4
    spatial_stride = 8
    causal = True
    default_tile_frames = 65
    default_tile_pixels = 256
    encoder_parts = ("encoder", "quant_conv")

    def __init__(self, config: HunyuanVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HunyuanVAEConfig()
        self.latent_channels = config.latent_channels
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)

    @property
    def latents_of(self) -> frozenset[str]:
        return frozenset({self.name, "AutoencoderKLHunyuanVideo"})

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(0.0), torch.tensor(1 / self.config.scaling_factor)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.get_parameter("conv_out.conv.weight")

    @property
    def encoder_last_layer(self) -> nn.Parameter:
        return self.encoder.get_parameter("conv_out.conv.weight")

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Trade time for memory in training; `last_layer_off` keeps the decoder's output layer as it is."""
        set_checkpointing(self, enabled)
        self.decoder.checkpoint_output = enabled and not last_layer_off

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The distribution of the unscaled latents of a clip x (B, 3, 1 + 4k, 8i, 8j)."""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR_RANGE))

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian]:
        posterior = self.posterior(x)
        z = posterior.sample() if sample_posterior else posterior.mean
        return self.config.scaling_factor * z, posterior

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return self.decoder(self.post_quant_conv(z / self.config.scaling_factor))


class Encoder(nn.Module):
    """Frames (B, 3, 1 + 4k, 8h, 8w) to the posterior's moments (B, 2 * latent_channels, 1 + k, h, w)."""

    def __init__(self, config: HunyuanVAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = CausalConv3d(3, widths[0], 3)
        levels = zip((widths[0], *widths), widths, SCALES, strict=False)
        self.down_blocks = nn.ModuleList(DownBlock(*level, config.layers_per_block) for level in levels)
        self.mid_block = MidBlock(widths[-1])
        self.conv_norm_out = group_norm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(norm_silu(self.conv_norm_out, self.mid_block(x)))


class Decoder(nn.Module):
    """Unscaled latents (B, latent_channels, 1 + k, h, w) to frames (B, 3, 1 + 4k, 8h, 8w)."""

    checkpoint_output: bool = False

    def __init__(self, config: HunyuanVAEConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], 3)
        self.mid_block = MidBlock(widths[0])
        levels = zip((widths[0], *widths), widths, SCALES, strict=False)
        self.up_blocks = nn.ModuleList(UpBlock(*level, config.layers_per_block + 1) for level in levels)
        self.conv_norm_out = group_norm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 3, 3)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return run_checkpointed(self._output, x, self.checkpoint_output)

    def _output(self, x: Tensor) -> Tensor:
        return self.conv_out(norm_silu(self.conv_norm_out, x))
