"""A miniature of the Video DC-AE: the same rate, but all its learned layers work on the grid of the latents.

Where the Video DC-AE (arXiv 2503.09642) goes from pixels to latents through five halvings of the frame, this one takes
a fixed DCT of every block of 4 x 32 x 32 pixels. Encoder and decoder are residual blocks of the DC-AE over the blocks'
coefficients, with zeros for their last weights: an untrained model is the linear baseline `dct`, and training adds to
it. It costs a hundredth of the operations, which is what a CPU can train and run.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.models.base import Autoencoder
from workbench.models.block_transform import BlockTransform
from workbench.models.checkpointing import set_checkpointing
from workbench.models.dc_blocks import ResBlock, RMSNorm, conv_layer

_STEP = 0.3
"""What an output of 1 of the last layers is in coefficients: about the deviation of those that the baseline drops."""


@dataclass(frozen=True)
class BlockDCAEConfig:
    """The architecture.

    Raises:
        ConfigError: a value is out of range.
    """

    width: int = setting(192, "channels between the transforms")
    encoder_depth: int = setting(1, "residual blocks of the encoder")
    decoder_depth: int = setting(1, "residual blocks of the decoder")
    coefficients: int = setting(512, "coefficients of a block that the encoder sees and the decoder gives")

    def __post_init__(self) -> None:
        check_range("width", self.width, 1)
        check_range("encoder_depth", self.encoder_depth, 0)
        check_range("decoder_depth", self.decoder_depth, 0)
        check_range("coefficients", self.coefficients, BlockDCAE.latent_channels, 3 * 32 * 32)


class BlockDCAE(Autoencoder):
    """Latents are the baseline's coefficients over their usual deviation, plus what the encoder adds to them."""

    name = "tiny"
    latent_channels = 128
    temporal_stride = 4
    spatial_stride = 32

    def __init__(self, config: BlockDCAEConfig) -> None:
        super().__init__()
        self.config = config
        width, kept = config.width, self.latent_channels
        self.video = BlockTransform(4, config.coefficients)
        self.image = BlockTransform(1, config.coefficients)
        self.encoder = _network(config.coefficients, width, config.encoder_depth, kept, kernel_size=1)
        self.decoder = _network(kept, width, config.decoder_depth, config.coefficients, kernel_size=3)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder[-1].conv.weight

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Keep only the input of every residual block for the backward pass; the last layer is always off it."""
        set_checkpointing(self, enabled)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        transform = self._transform(x.shape[2])
        normalised = transform.analyse(x)
        learned = _STEP * self.encoder(normalised) / transform.deviation[:, : self.latent_channels]
        return normalised[:, : self.latent_channels] + learned, None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        transform = self._transform(num_frames)
        learned = _STEP * self.decoder(z) / transform.deviation
        linear = torch.cat([z, torch.zeros_like(learned[:, self.latent_channels :])], dim=1)
        return transform.synthesise(linear + learned)

    def _transform(self, num_frames: int) -> BlockTransform:
        return self.image if num_frames == 1 else self.video


def _network(inputs: int, width: int, depth: int, outputs: int, kernel_size: int) -> nn.Sequential:
    blocks = [ResBlock(width) for _ in range(depth)]
    network = nn.Sequential(
        conv_layer(inputs, width, kernel_size), *blocks, RMSNorm(width), nn.SiLU(), conv_layer(width, outputs, 1)
    )
    for module in network.modules():
        if isinstance(module, RMSNorm):  # unlike in the long recipe, branches take part from the first step on
            nn.init.ones_(module.weight)
    nn.init.zeros_(network[-1].conv.weight)
    return network
