"""The Video DC-AE in stages: its local layers streamed in time, its attention part tiled, or streamed in windows."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

import torch
from torch import Tensor

from workbench.models.dc_blocks import (
    EfficientViTBlock,
    GatedBottleneck,
    MultiScaleLinearAttention,
    add_shortcut,
)
from workbench.models.dc_resampling import Downsample, Upsample
from workbench.models.layer_streams import Layer, reach_of, stream_of
from workbench.models.streams import Beside, Stream, chain, each, same, sequence
from workbench.models.windows import WindowedAttention
from workbench.stages import GlobalStage, LocalStage, Push, Stage, Window

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
        return chain([stream_of(layer, is_image) for layer in layers], size)

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
            yield _gated_stream(gated)
        else:
            yield stream_of(layer, is_image)
            scale = _scale_after([layer], scale)


def _attention_stream(main: MultiScaleLinearAttention, scale: Scale, window: Window) -> Stream:
    both_scales = Beside(stream_of(main.aggreg[0]), same, lambda late, qkv: torch.cat([qkv, late], dim=1))
    attention = WindowedAttention(main.head_size, scale, window)
    return Beside(sequence(stream_of(main.qkv), both_scales, attention, stream_of(main.proj)), same, add_shortcut)


def _gated_stream(main: GatedBottleneck) -> Stream:
    return Beside(sequence(each(main.widen), stream_of(main.depth_conv), each(main.gate)), same, add_shortcut)
