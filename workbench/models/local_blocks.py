"""Blocks of networks without attention, all of which are local.

Resampling is that of DC-AE-V (arXiv 2509.25182): a convolution, and pixels moved to channels or back, beside the
shortcuts of DC-AE (arXiv 2410.10733). All blocks map (B, C, T, H, W) to that layout; convolutions may be chunk-causal,
see `dc_blocks.Conv3d`. Attribute names are those of the published checkpoints of DC-AE-V.
"""

from collections import OrderedDict
from math import prod

from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock
from workbench.models.dc_blocks import add_shortcut, conv_layer, match_channels
from workbench.models.dc_resampling import Factors, pixel_shuffle, pixel_unshuffle, unshuffled


class ConvUnshuffle(nn.Module):
    """A convolution to fewer channels, then blocks of pixels moved to channels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
        super().__init__()
        self.factors = factors
        self.conv = conv_layer(in_channels, out_channels // prod(factors), chunk=chunk)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(self.conv(x), self.factors)


class ConvShuffle(nn.Module):
    """A convolution to more channels, then channels moved to blocks of pixels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
        super().__init__()
        self.factors = factors
        self.conv = conv_layer(in_channels, out_channels * prod(factors), chunk=chunk)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.conv(x), self.factors)


class ShuffleDown(CheckpointedBlock):
    """`ConvUnshuffle` beside pixels moved to channels and averaged."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
        super().__init__()
        self.out_channels, self.factors = out_channels, factors
        self.main = ConvUnshuffle(in_channels, out_channels, factors, chunk)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Pixels of x moved to channels, and these averaged or repeated."""
        return unshuffled(x, self.factors, self.out_channels)


class ShuffleUp(CheckpointedBlock):
    """`ConvShuffle` beside channels repeated and moved to pixels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
        super().__init__()
        self.out_channels, self.factors = out_channels, factors
        self.main = ConvShuffle(in_channels, out_channels, factors, chunk)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Channels of x, repeated or averaged, moved to pixels."""
        return pixel_shuffle(match_channels(x, self.out_channels * prod(self.factors)), self.factors)


class SeparableResBlock(CheckpointedBlock):
    """Two times a 5x5x5 convolution of every channel by itself and a mix of channels, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            depth_conv1=conv_layer(channels, channels, 5, groups=channels),
            point_conv1=conv_layer(channels, channels, 1),
            act=nn.SiLU(inplace=True),
            depth_conv2=conv_layer(channels, channels, 5, groups=channels),
            point_conv2=conv_layer(channels, channels, 1, bias=False, norm=True),
        )
        self.main = nn.Sequential(layers)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), x)
