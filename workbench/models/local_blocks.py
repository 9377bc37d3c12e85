"""Blocks of networks without attention, each with its streaming form: all of such a network is local.

Resampling is that of DC-AE-V (arXiv 2509.25182): a convolution, and pixels moved to channels or back, beside the
shortcuts of DC-AE (arXiv 2410.10733). All blocks map (B, C, T, H, W) to that layout; convolutions may be chunk-causal,
see `dc_blocks.Conv3d`. Attribute names are those of the published checkpoints of DC-AE-V.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from math import prod

from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock
from workbench.models.dc_blocks import ResBlock, RMSNorm, add_shortcut, conv_layer, match_channels
from workbench.models.dc_resampling import Factors, pixel_shuffle, pixel_unshuffle, unshuffled
from workbench.models.streams import Beside, Groups, Stream, each, sequence
from workbench.models.trunk import layer_stream


class ConvUnshuffle(nn.Module):
    """A convolution to fewer channels, then blocks of pixels moved to channels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
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

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
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

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
        super().__init__()
        self.out_channels, self.factors = out_channels, factors
        self.main = ConvUnshuffle(in_channels, out_channels, factors, chunk)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        return unshuffled(x, self.factors, self.out_channels)

    def stream(self) -> Stream:
        """The same, streamed."""
        return Beside(self.main.stream(), self._shortcut, add_shortcut, group=self.factors[0])


class ShuffleUp(CheckpointedBlock):
    """`ConvShuffle` beside channels repeated and moved to pixels."""

    def __init__(self, in_channels: int, out_channels: int, factors: Factors, chunk: int | None = None) -> None:
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

    def stream(self) -> Stream:
        """The same, streamed."""
        return Beside(sequence(*map(stream_of, self.main.children())), lambda x: x, add_shortcut)


_POINTWISE = RMSNorm | nn.SiLU


def stream_of(layer: nn.Module) -> Stream:
    """The streaming form of a layer."""
    if isinstance(layer, ConvUnshuffle | ConvShuffle | ShuffleDown | ShuffleUp | SeparableResBlock):
        return layer.stream()
    return each(layer) if isinstance(layer, _POINTWISE) else layer_stream(layer, False)


def reach_of(layers: Sequence[nn.Module], cell: tuple[int, int]) -> int:
    """How many cells to each side an output cell depends on: the samples that it needs, walked back to the input."""
    low, high = 0, cell[1] - 1
    for layer in reversed(layers):
        if isinstance(layer, ConvUnshuffle | ShuffleDown):
            low, high = low * layer.factors[1], (high + 1) * layer.factors[1] - 1
        elif isinstance(layer, ConvShuffle | ShuffleUp):
            low, high = low // layer.factors[1], high // layer.factors[1]
        low, high = low - _looks(layer), high + _looks(layer)
    return max(-(low // cell[0]), high // cell[0])


def _looks(layer: nn.Module) -> int:
    """Samples to each side that a layer looks at, at its own resolution."""
    if isinstance(layer, SeparableResBlock):
        return 4
    return 0 if isinstance(layer, _POINTWISE) else 2 if isinstance(layer, ResBlock) else 1
