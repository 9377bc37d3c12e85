"""The shipped small model, of the Video DC-AE's rate: a learned residual beside a shortcut without weights.

That idea is the DC-AE's (arXiv 2410.10733), whose shortcuts move pixels to channels. Here one shortcut around all of
encoder and decoder is a block DCT whose blocks choose their frequencies (`block_transform`). Both networks are residual
blocks over patches of 4 x 4, 8 x 8 and 32 x 32 pixels of 4 frames: fine patches for what is sharp, coarse ones for what
is far away in space and time. The encoder goes down through them, the decoder down and up again (a U-Net, arXiv
1505.04597). Their last weights are zero at first: an untrained model is its transform, and training adds to it. Where
nothing moves, both are kept from changing in time (`stillness`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.block_transform import AdaptiveTransform
from workbench.models.checkpointing import set_checkpointing
from workbench.models.dct import from_blocks, to_blocks
from workbench.models.patch_blocks import (
    Linear,
    PatchResBlock,
    RMSNorm,
    channels_last,
    channels_to_space,
    space_to_channels,
)
from workbench.models.stillness import even_drift, moving_share, over_repeated_ends, settled
from workbench.models.streams import Beside, ConvStream, Stream, chain, each, same, sequence, whole_images
from workbench.stages import LocalStage, Push, Stage

_PATCH = (4, 4, 4)
_VALUES = 3 * 4 * 4 * 4
_SIDES = (4, 8, 32)
"""Pixels of a side of the patches of each level."""

_NOISE = 0.25
"""The part of `still_below` that a still scene changes by, where a fade changes by more."""

_FACTORS = tuple(coarse // fine for fine, coarse in pairwise(_SIDES))

_COEFFICIENT_STEP = 0.3
_PIXEL_STEP = 0.1
"""What an output of 1 of the encoder is in DCT coefficients, and of the decoder in [-1, 1]: about the deviations of
what the transform drops, so that one learning rate suits both."""

_LEVELS = 127.5
"""Grey levels of 255 that are 1 in [-1, 1]."""


@dataclass(frozen=True)
class TinyConfig:
    """The architecture: three values for the patches of 4, 8 and 32 pixels.

    Raises:
        ConfigError: a value is out of range, or there are not three.
    """

    encoder_widths: tuple[int, ...] = setting((64, 128, 192), "channels of the encoder at patches of 4, 8, 32 pixels")
    encoder_depths: tuple[int, ...] = setting((2, 3, 2), "residual blocks of the encoder there")
    decoder_widths: tuple[int, ...] = setting((96, 192, 192), "channels of the decoder there")
    decoder_depths: tuple[int, ...] = setting((3, 5, 3), "residual blocks of the decoder there")
    still_below: float = setting(1.75, "grey levels of 255: smaller changes in time are averaged away; 0: none are")

    def __post_init__(self) -> None:
        check_range("still_below", self.still_below, 0.0)
        for name in ("encoder_widths", "encoder_depths", "decoder_widths", "decoder_depths"):
            values = getattr(self, name)
            if len(values) != len(_SIDES):
                raise ConfigError(f"`{name}`: give {len(_SIDES)} values, for patches of 4, 8 and 32 pixels")
            for value in values:
                check_range(name, value, 0 if name.endswith("depths") else 1)


class Tiny(Autoencoder):
    """Latents are chosen DCT coefficients over their usual deviation, with what the encoder adds to them."""

    name = "tiny"
    latent_channels = 128
    temporal_stride = 4
    spatial_stride = 32
    default_tile_frames = 64  # small clips in one piece: its features need little memory
    default_tile_pixels = 640
    default_tiling_mode = "stages"  # exact, without overlap
    default_push_frames = 8
    encoder_parts = ("encoder", "to_latents", "image")

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.transform = AdaptiveTransform()
        self.encoder = _Down(config.encoder_widths, config.encoder_depths)
        self.to_latents = _zeros(config.encoder_widths[-1], self.transform.deviation.numel())
        self.image = nn.Parameter(torch.zeros(config.encoder_widths[-1]))
        self.decoder = _DownAndUp(config.decoder_widths, config.decoder_depths)
        self.to_pixels = _zeros(config.decoder_widths[0], _VALUES)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.to_pixels.get_parameter("weight")

    @property
    def encoder_last_layer(self) -> nn.Parameter:
        return self.to_latents.get_parameter("weight")

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Keep only the input of every residual block for the backward pass; the last layer is always off it."""
        set_checkpointing(self, enabled)

    def encode_stages(self) -> list[Stage]:
        """All of the encoder as one local stage: the learned part beside the transform of the same blocks."""

        def stream(size: int) -> Push:
            """Frames to latents, at most `size` frames at once."""
            learned = sequence(each(_patches_first), self.encoder.stream(), channels_last(self._to_latents))
            clip = Beside(learned, self.transform.analyse, self._sum)
            steadied = sequence(clip, ConvStream(self._steadied, repeats=True)) if self._keeps_still else clip
            latents = sequence(steadied, each(self.transform.choose))
            return chain([whole_images(lambda x: self._encode(x, False)[0], latents)], size)

        unit, cell, reach = self.temporal_stride, (self.spatial_stride, 1), _reach(self.config.encoder_depths)
        return [LocalStage("encode", stream, self.frames_of, unit, cell, reach)]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """All of the decoder as one local stage; an image is no clip of one frame, and decoded at once."""

        def stream(size: int) -> Push:
            """Latents to frames, at most `size` latents at once."""
            if is_image:
                return chain([each(lambda z: self._decode(z, 1))], size)
            linear = sequence(each(self._linear), each(_patches_first))
            learned = sequence(self.decoder.stream(), channels_last(self._to_values))
            if self._keeps_still:
                added = sequence(Beside(learned, same, _with_change), ConvStream(self._added_steadied, repeats=True))
            else:
                added = Beside(learned, same, _added)
            return chain([sequence(linear, added, each(_frames))], size)

        cell, reach = (1, self.spatial_stride), _reach(self.config.decoder_depths)
        return [LocalStage("decode", stream, lambda latents: latents, 1, cell, reach)]

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        is_image = x.shape[2] == 1
        clip = x.expand(-1, -1, _PATCH[0], -1, -1) if is_image else x
        # A factor, so that all weights have a gradient, which DDP asks for.
        features = self.encoder(_patches(clip)) + float(is_image) * self.image
        coefficients = self._sum(self._to_latents(features).movedim(-1, 1), self.transform.analyse(clip))
        if is_image:
            coefficients = coefficients * ~self.transform.changes
        elif self._keeps_still:
            coefficients = over_repeated_ends(self._steadied, coefficients)
        return self.transform.choose(coefficients), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        linear = self._linear(z)
        learned = self._to_values(self.decoder(_patches(linear))).movedim(-1, 1)
        linear = _patches_first(linear)
        if num_frames == 1:
            return _frames(_added(learned, linear)).mean(2, keepdim=True)
        if self._keeps_still:
            return _frames(over_repeated_ends(self._added_steadied, _with_change(learned, linear)))
        return _frames(_added(learned, linear))

    def _linear(self, z: Tensor) -> Tensor:
        """Latents (B, 128, t, h, w) to the frames (B, 3, T, H, W) that they are without a network."""
        return self.transform.synthesise(self.transform.spread(z))

    @property
    def _keeps_still(self) -> bool:
        return self.config.still_below > 0

    def _steadied(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, U, t + 2, h, w) to those between first and last, steady where nothing moves."""
        changes, deviation = self.transform.changes, self.transform.deviation
        # Of pixels, in grey levels, once the mean over U is taken: the basis is orthonormal.
        levels = _LEVELS * (deviation.numel() / self.transform.basis[0].numel()) ** 0.5 * deviation * coefficients
        within = (levels * changes).float().square().mean(1, keepdim=True)
        share = moving_share(levels * ~changes, within, self.config.still_below)
        return settled(coefficients, coefficients * ~changes, share)

    def _added_steadied(self, values: Tensor) -> Tensor:
        """Values of `_with_change` for t + 2 steps to the sums (B, 192, t, H, W) between first and last."""
        added, linear, within = values.split([_VALUES, _VALUES // _PATCH[0], 1], dim=1)
        share = moving_share(linear, within, self.config.still_below / _LEVELS)
        added = added.unflatten(1, (3, _PATCH[0], -1))
        steady = added.mean(2, keepdim=True)
        drift = even_drift(steady, _PATCH[0], _NOISE * self.config.still_below / _LEVELS)
        return settled(added, steady, share.unflatten(1, (1, 1, 1)), drift).flatten(1, 3)

    def _to_latents(self, features: Tensor) -> Tensor:
        """Features (B, t, h, w, C) of the encoder to what they add to the latents, channels last."""
        return self.to_latents(F.silu(features))

    def _to_values(self, features: Tensor) -> Tensor:
        """Features (B, t, H, W, C) of the decoder to what it adds to the values of patches, channels last."""
        return self.to_pixels(F.silu(features))

    def _sum(self, learned: Tensor, linear: Tensor) -> Tensor:
        return linear + _COEFFICIENT_STEP * learned / self.transform.deviation


def _patches(x: Tensor) -> Tensor:
    """Frames (B, 3, T, H, W) to (B, t, H / 4, W / 4, values of a patch)."""
    return to_blocks(x, _PATCH)


def _patches_first(x: Tensor) -> Tensor:
    """The patches of a clip with their values as channels, (B, C, t, H / 4, W / 4)."""
    return _patches(x).movedim(-1, 1)


def _frames(values: Tensor) -> Tensor:
    """Values of patches (B, 192, t, H, W) to frames (B, 3, T, 4 * H, 4 * W)."""
    return from_blocks(values.movedim(1, -1), _PATCH)


def _added(learned: Tensor, linear: Tensor) -> Tensor:
    """Values of patches (B, 192, t, H, W) with what the decoder adds to them."""
    return linear + _PIXEL_STEP * learned


def _with_change(learned: Tensor, linear: Tensor) -> Tensor:
    """The same, then the mean over the frames of the linear patches, and the mean square of the rest."""
    frames = linear.unflatten(1, (3, _PATCH[0], -1))
    steady = frames.mean(2, keepdim=True)
    within = (frames - steady).square().mean((1, 2, 3))[:, None]
    return torch.cat([_added(learned, linear), steady.flatten(1, 3), within], dim=1)


def _reach(depths: Sequence[int]) -> int:
    """Blocks of 32 pixels to each side that the residual blocks of all levels, a patch each, look at together."""
    pixels = 0
    for side, depth in zip(_SIDES, depths, strict=True):
        pixels = (-(-pixels // side) + depth) * side
    return pixels // _SIDES[-1]


class _Down(nn.Module):
    """Values of the finest patches (B, t, H, W, 192) to features (B, t, h, w, C) of blocks of 32 pixels."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.project_in = _project_in(widths[0])
        self.levels = nn.ModuleList(map(_blocks, widths, depths))
        self.downs = nn.ModuleList(map(_Coarser, _FACTORS, widths, widths[1:]))
        self.norm = RMSNorm(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.levels[0](self.project_in(x))
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            x = level(down(x))
        return self.norm(x)

    def stream(self) -> Stream:
        """The network streamed in time, on channels-first features."""
        streams = [channels_last(self.project_in), *_streams(self.levels[0])]
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            streams += [channels_last(down), *_streams(level)]
        return sequence(*streams, channels_last(self.norm))


class _DownAndUp(nn.Module):
    """Values of the finest patches (B, t, H, W, 192) to features (B, t, H, W, C) of them that have seen coarse ones."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.project_in = _project_in(widths[0])
        self.downs = nn.ModuleList(map(_Coarser, _FACTORS, widths, widths[1:]))
        self.levels = nn.ModuleList(map(_blocks, widths, depths))
        self.ups = nn.ModuleList(map(_Finer, _FACTORS, widths[1:], widths))
        self.norm = RMSNorm(widths[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self._level(self.project_in(x), 0))

    def _level(self, x: Tensor, number: int) -> Tensor:
        if number < len(self.downs):
            x = x + self.ups[number](self._level(self.downs[number](x), number + 1))
        return self.levels[number](x)

    def stream(self) -> Stream:
        """The network streamed in time, on channels-first features."""
        return sequence(channels_last(self.project_in), self._level_stream(0), channels_last(self.norm))

    def _level_stream(self, number: int) -> Stream:
        blocks = _streams(self.levels[number])
        if number == len(self.downs):
            return sequence(*blocks)
        down, up = channels_last(self.downs[number]), channels_last(self.ups[number])
        coarser = sequence(down, self._level_stream(number + 1), up)
        return sequence(Beside(coarser, same, torch.add), *blocks)


class _Coarser(nn.Module):
    """Features of `factor` x `factor` patches to those of one larger patch."""

    def __init__(self, factor: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = Linear(factor * factor * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(space_to_channels(x, self.factor))


class _Finer(nn.Module):
    """Features of a patch to those of the `factor` x `factor` smaller ones in it."""

    def __init__(self, factor: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = Linear(inputs, factor * factor * outputs, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return channels_to_space(self.linear(x), self.factor)


def _project_in(width: int) -> Linear:
    return Linear(_VALUES, width, gain=3.0)  # pixels in [-1, 1] deviate by about 0.4


def _blocks(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*[PatchResBlock(width) for _ in range(depth)])


def _streams(blocks: nn.Module) -> list[Stream]:
    return [block.stream() for block in blocks.children() if isinstance(block, PatchResBlock)]


def _zeros(inputs: int, outputs: int) -> Linear:
    return Linear(inputs, outputs, gain=0.0)
