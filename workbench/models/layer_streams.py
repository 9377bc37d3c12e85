"""The local layers of the DC-AE's family: how each is streamed in time, and how far it looks in a frame."""

from collections.abc import Iterable, Sequence
from functools import partial

from torch import nn

from workbench.models.dc_blocks import (
    BlockList,
    Conv3d,
    ResBlock,
    Residual,
    RMSNorm,
    add_shortcut,
)
from workbench.models.dc_resampling import (
    Downsample,
    Upsample,
    add_shuffled,
    phase_kernels,
    pixel_shuffle,
    pixel_unshuffle,
    shuffled_in_time,
)
from workbench.models.local_blocks import ConvShuffle, ConvUnshuffle, SeparableResBlock, ShuffleDown, ShuffleUp
from workbench.models.streams import (
    Beside,
    ChunkConvStream,
    ConvStream,
    Groups,
    ResidualStream,
    Stream,
    each,
    same,
    sequence,
    whole_images,
)
from workbench.stages import Apply

Layer = nn.Module | Apply
"""A module of those below, or a function of single positions."""

_POINTWISE = RMSNorm | nn.SiLU | nn.ReLU
_BESIDE_SHORTCUT = ResBlock | Residual | SeparableResBlock | Downsample | ShuffleDown | ShuffleUp


def stream_of(layer: Layer, is_image: bool = False) -> Stream:
    """The streaming form of a layer."""
    if isinstance(layer, nn.Sequential):
        return sequence(*map(stream_of, layer))
    if isinstance(layer, BlockList):
        return sequence(*map(stream_of, layer.op_list))
    if isinstance(layer, Conv3d):
        return _conv_stream(layer)
    if isinstance(layer, ConvUnshuffle):
        unshuffle = each(partial(pixel_unshuffle, factors=layer.factors))
        return sequence(stream_of(layer.conv), Groups(layer.factors[0]), unshuffle)
    if isinstance(layer, ConvShuffle):
        return sequence(stream_of(layer.conv), each(partial(pixel_shuffle, factors=layer.factors)))
    if isinstance(layer, Upsample):
        return _up_stream(layer, is_image)
    if isinstance(layer, _BESIDE_SHORTCUT):
        return _shortcut_stream(layer)
    assert isinstance(layer, _POINTWISE) or not isinstance(layer, nn.Module), f"{type(layer)} has no streaming form"
    return each(layer)


def reach_of(layers: Sequence[Layer], cell: tuple[int, int]) -> int:
    """How many cells to each side an output cell depends on: the samples that it needs, walked back to the input.

    Args:
        cell: samples of a side that a cell has in the input and in the output.
    """
    low, high = _read_by(layers, 0, cell[1] - 1)
    return max(-(low // cell[0]), high // cell[0])


def _read_by(layers: Iterable[Layer], low: int, high: int) -> tuple[int, int]:
    """The samples of a side, first and last, that layers read of their input for these of their output."""
    for layer in reversed(list(layers)):
        if isinstance(layer, Conv3d):
            stride, past = layer.stride[1], layer.kernel_size[1] // 2
            low, high = low * stride - past, high * stride + past
        elif isinstance(layer, nn.Sequential):
            low, high = _read_by(layer, low, high)
        elif isinstance(layer, BlockList):
            low, high = _read_by(layer.op_list, low, high)
        elif isinstance(layer, ConvUnshuffle):
            factor = layer.factors[1]
            low, high = _read_by([layer.conv], low * factor, (high + 1) * factor - 1)
        elif isinstance(layer, ConvShuffle):
            factor = layer.factors[1]
            low, high = _read_by([layer.conv], low // factor, high // factor)
        elif isinstance(layer, Upsample):
            low, high = (low - 1) // 2, (high + 1) // 2
        elif isinstance(layer, _BESIDE_SHORTCUT):
            low, high = _read_by([layer.main], low, high)
    return low, high


def _conv_stream(conv: Conv3d, silu: bool = False) -> Stream:
    valid, kernel = partial(conv.valid, silu=silu), conv.kernel_size[0]
    if kernel == 1:
        return each(valid)
    if conv.chunk is not None:
        return ChunkConvStream(valid, kernel, conv.chunk)
    return ConvStream(valid, kernel, conv.stride[0])


def _shortcut_stream(layer: _BESIDE_SHORTCUT) -> Stream:
    if isinstance(layer, ResBlock):
        return _res_stream(layer)
    if isinstance(layer, SeparableResBlock):
        return Beside(stream_of(layer.main), same, add_shortcut)
    if isinstance(layer, Residual | ShuffleUp):
        return Beside(stream_of(layer.main), layer.shortcut, add_shortcut)
    if isinstance(layer, ShuffleDown):
        return Beside(stream_of(layer.main), layer.shortcut, add_shortcut, group=layer.factors[0])
    return whole_images(layer, Beside(stream_of(layer.main), layer.shortcut, add_shortcut, group=layer.stride[0]))


def _res_stream(block: ResBlock) -> Stream:
    conv1, conv2, norm = block.layers
    if conv1.chunk is None:
        return ResidualStream(partial(conv1.valid, silu=True), _conv_stream(conv2), norm, conv1.kernel_size[0])
    return Beside(sequence(_conv_stream(conv1, silu=True), _conv_stream(conv2)), same, norm)


def _up_stream(layer: Upsample, is_image: bool) -> Stream:
    frames = 2 if layer.doubles_time and not is_image else 1
    shortcut = partial(shuffled_in_time, factors=(frames, 2, 2), channels=layer.out_channels)
    repeat = each(lambda x: x.repeat_interleave(2, dim=2)) if frames == 2 else each(same)
    kernels = phase_kernels(layer.main.weight)
    conv = ConvStream(lambda x: layer.main.convolve(x, kernels, time_padding=0))
    return Beside(sequence(repeat, conv), shortcut, add_shuffled)
