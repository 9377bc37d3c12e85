"""Resampling of DC-AE-V (arXiv 2509.25182): a convolution, and pixels moved to channels or back.

The shortcuts beside are those of DC-AE (arXiv 2410.10733). All map (B, C, T, H, W) to that layout; convolutions are
chunk-causal, see `dc_blocks.Conv3d`. Attribute names are those of the published checkpoints.
"""

from functools import partial
from math import prod

from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock
from workbench.models.dc_blocks import add_shortcut, conv_layer, match_channels
from workbench.models.dc_resampling import pixel_shuffle, pixel_unshuffle
from workbench.models.streams import Beside, Groups, Stream, each, sequence
from workbench.models.trunk import layer_stream

Factors = tuple[int, int, int]
"""By how much T, H and W change."""


class ConvUnshuffle(nn.Module):
    """A convolution to fewer channels, then blocks of pixels moved to channels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int) -> None:
        super().__init__()
        self.factors = factors
        self.conv = conv_layer(in_channels, out_channels // prod(factors), chunk=chunk)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(self.conv(x), self.factors)

    def stream(self) -> Stream:
        """The same, streamed."""
        unshuffle = each(partial(pixel_unshuffle, factors=self.factors))
        return sequence(layer_stream(self.conv, False), Groups(self.factors[0]), unshuffle)


class ConvShuffle(nn.Module):
    """A convolution to more channels, then channels moved to blocks of pixels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int) -> None:
        super().__init__()
        self.factors = factors
        self.conv = conv_layer(in_channels, out_channels * prod(factors), chunk=chunk)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.conv(x), self.factors)

    def stream(self) -> Stream:
        """The same, streamed."""
        return sequence(layer_stream(self.conv, False), each(partial(pixel_shuffle, factors=self.factors)))


class ShuffleDown(CheckpointedBlock):
    """`ConvUnshuffle` beside pixels moved to channels and averaged."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int) -> None:
        super().__init__()
        self.out_channels, self.factors = out_channels, factors
        self.main = ConvUnshuffle(in_channels, out_channels, factors, chunk)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        return match_channels(pixel_unshuffle(x, self.factors), self.out_channels)

    def stream(self) -> Stream:
        """The same, streamed."""
        return Beside(self.main.stream(), self._shortcut, add_shortcut, group=self.factors[0])


class ShuffleUp(CheckpointedBlock):
    """`ConvShuffle` beside channels repeated and moved to pixels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int) -> None:
        super().__init__()
        self.out_channels, self.factors = out_channels, factors
        self.main = ConvShuffle(in_channels, out_channels, factors, chunk)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        return pixel_shuffle(match_channels(x, self.out_channels * prod(self.factors)), self.factors)

    def stream(self) -> Stream:
        """The same, streamed."""
        return Beside(self.main.stream(), self._shortcut, add_shortcut)
