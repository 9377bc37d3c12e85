"""The Video DC-AE in stages: its local layers streamed in time, its attention part tiled, or streamed in windows."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile

import torch
from torch import Tensor, nn

from workbench.models.dc_blocks import (
    Conv3d,
    EfficientViTBlock,
    GatedBottleneck,
    MultiScaleLinearAttention,
    ResBlock,
    Residual,
    add_shortcut,
    match_channels,
)
from workbench.models.dc_resampling import (
    Downsample,
    Upsample,
    add_shuffled,
    phase_kernels,
    shuffled_in_time,
    unshuffled,
)
from workbench.models.streams import (
    Beside,
    ChunkConvStream,
    ConvStream,
    ResidualStream,
    Stream,
    chain,
    each,
    sequence,
    whole_images,
)
from workbench.models.windows import WindowedAttention
from workbench.stages import Apply, GlobalStage, LocalStage, Push, Stage, Window

Layer = nn.Module | Apply
Scale = tuple[int, int]
"""Frames, and samples of a side, per latent."""


def encode_stages(layers: Sequence[Layer], scale: Scale) -> list[Stage]:
    """The stages of an encoder, from all of its layers in order: what comes before any attention, then the rest.

    Args:
        scale: of the frames.
    """
    trunk = list(takewhile(_is_local, layers))
    rest, deep = layers[len(trunk) :], _scale_after(trunk, scale)
    stages: list[Stage] = [_trunk("encode trunk", trunk, scale, cell=(scale[1] // deep[1], 1))]
    return [*stages, _attention("encode attention", rest, deep, deep)] if rest else stages


def decode_stages(layers: Sequence[Layer], is_image: bool) -> list[Stage]:
    """The stages of a decoder: everything up to the last attention, then the rest."""
    trunk = list(takewhile(_is_local, reversed(layers)))[::-1]
    rest = layers[: len(layers) - len(trunk)]
    deep = _scale_after(rest, (1, 1))
    side = _scale_after(trunk, (1, 1))[1]
    trunk_stage = _trunk("decode trunk", trunk, deep, (1, side), is_image)
    return [_attention("decode attention", rest, (1, 1), deep, is_image), trunk_stage] if rest else [trunk_stage]


def reach_of(layers: Sequence[Layer], cell: tuple[int, int]) -> int:
    """How many cells to each side an output cell depends on: the samples that it needs, walked back to the input."""
    low, high = 0, cell[1] - 1
    for layer in reversed(layers):
        if isinstance(layer, Downsample):
            low, high = 2 * low - 1, 2 * high + 1
        elif isinstance(layer, Upsample):
            low, high = (low - 1) // 2, (high + 1) // 2
        elif isinstance(layer, nn.Module):
            convolutions = 2 if isinstance(layer, ResBlock) else 1
            low, high = low - convolutions, high + convolutions
    return max(-(low // cell[0]), high // cell[0])


def layer_stream(layer: Layer, is_image: bool) -> Stream:
    """The streaming form of a local layer."""
    if isinstance(layer, ResBlock):
        conv1, conv2, norm = layer.layers
        assert isinstance(conv1, Conv3d)
        if conv1.chunk is None:
            first = partial(conv1.valid, silu=True)
            return ResidualStream(first, _valid_stream(conv2), norm, conv1.kernel_size[0])
        return Beside(sequence(_valid_stream(conv1, silu=True), _valid_stream(conv2)), _same, norm)
    if isinstance(layer, Residual):
        conv = layer.main if hasattr(layer.main, "conv") else layer.main.get_submodule("op_list.0")
        return Beside(_conv_stream(conv), partial(match_channels, channels=layer.out_channels), add_shortcut)
    if isinstance(layer, Downsample):
        return whole_images(layer, _down_stream(layer))
    if isinstance(layer, Upsample):
        return _up_stream(layer, is_image)
    if isinstance(layer, nn.Module) and hasattr(layer, "op_list"):
        # The decoder's output: norm and activation, which work in place, and convolution.
        *pointwise, conv = layer.get_submodule("op_list").children()
        return sequence(*map(each, pointwise), _conv_stream(conv))
    return _conv_stream(layer) if isinstance(layer, nn.Module) else each(layer)


def _is_local(layer: Layer) -> bool:
    return not isinstance(layer, EfficientViTBlock)


def _scale_after(layers: Sequence[Layer], scale: Scale) -> Scale:
    """The scale after these layers of a clip, from that before them."""
    frames, side = scale
    for layer in layers:
        if isinstance(layer, Downsample):
            frames, side = frames // layer.stride[0], side // 2
        elif isinstance(layer, Upsample):
            frames, side = frames * (2 if layer.doubles_time else 1), side * 2
    return frames, side


def _trunk(
    name: str, layers: Sequence[Layer], scale: Scale, cell: tuple[int, int], is_image: bool = False
) -> LocalStage:
    """The stage of these local layers, whose input is of this scale."""

    def stream(size: int) -> Push:
        return chain([layer_stream(layer, is_image) for layer in layers], size)

    return LocalStage(name, stream, lambda latents: latents * scale[0], cell=cell, reach=reach_of(layers, cell))


def _attention(name: str, layers: Sequence[Layer], scale: Scale, finer: Scale, is_image: bool = False) -> GlobalStage:
    """The stage of these layers, whose input is of this scale and whose finer end of the other."""

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x, is_image) if isinstance(layer, Upsample) else layer(x)
        return x

    def windowed(window: Window) -> LocalStage:
        def stream(size: int) -> Push:
            return chain(list(_windowed_streams(layers, scale, window, is_image)), size)

        cell = scale[1], finer[1] // scale[1]
        return LocalStage(name, stream, lambda latents: latents * scale[0], cell=cell, is_exact=False)

    return GlobalStage(name, run, lambda latents: latents * finer[0], finer[1], windowed=windowed)


def _windowed_streams(layers: Sequence[Layer], scale: Scale, window: Window, is_image: bool) -> Iterator[Stream]:
    for layer in layers:
        if isinstance(layer, EfficientViTBlock):
            attention, gated = layer.context_module.main, layer.local_module.main
            assert isinstance(attention, MultiScaleLinearAttention)
            assert isinstance(gated, GatedBottleneck)
            yield _attention_stream(attention, scale, window)
            yield Beside(_gated_stream(gated), _same, add_shortcut)
        else:
            yield layer_stream(layer, is_image)
            scale = _scale_after([layer], scale)


def _attention_stream(main: MultiScaleLinearAttention, scale: Scale, window: Window) -> Stream:
    conv, mix = main.aggreg[0].children()
    aggregated = sequence(_valid_stream(conv), each(mix))
    both_scales = Beside(aggregated, _same, lambda late, qkv: torch.cat([qkv, late], dim=1))
    attention = WindowedAttention(main.head_size, scale, window)
    return Beside(sequence(each(main.qkv), both_scales, attention, each(main.proj)), _same, add_shortcut)


def _gated_stream(main: GatedBottleneck) -> Stream:
    return sequence(each(main.widen), _conv_stream(main.depth_conv), each(main.gate))


def _conv_stream(layer: nn.Module) -> Stream:
    """The stream of a `conv_layer`."""
    conv, *norm = layer.children()
    return sequence(_valid_stream(conv), *map(each, norm))


def _valid_stream(conv: nn.Module, silu: bool = False) -> Stream:
    assert isinstance(conv, Conv3d)
    valid = partial(conv.valid, silu=silu)
    if conv.chunk is not None:
        return ChunkConvStream(valid, conv.kernel_size[0], conv.chunk)
    return ConvStream(valid, conv.kernel_size[0], conv.stride[0])


def _down_stream(layer: Downsample) -> Stream:
    shortcut = partial(unshuffled, factors=layer.stride, channels=layer.out_channels)
    return Beside(_conv_stream(layer.main), shortcut, add_shortcut, group=layer.stride[0])


def _up_stream(layer: Upsample, is_image: bool) -> Stream:
    frames = 2 if layer.doubles_time and not is_image else 1

    shortcut = partial(shuffled_in_time, factors=(frames, 2, 2), channels=layer.out_channels)
    repeat = each(lambda x: x.repeat_interleave(2, dim=2)) if frames == 2 else each(_same)
    kernels = phase_kernels(layer.main.weight)
    conv = ConvStream(lambda x: layer.main.convolve(x, kernels, time_padding=0))
    return Beside(sequence(repeat, conv), shortcut, add_shuffled)


def _same(x: Tensor) -> Tensor:
    return x
