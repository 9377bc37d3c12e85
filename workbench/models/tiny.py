"""The shipped small model, of the Video DC-AE's rate: a learned residual beside a fixed shortcut.

That idea is the DC-AE's (arXiv 2410.10733), whose shortcuts move pixels to channels. Here one shortcut around all of
encoder and decoder is the block DCT of the linear baseline, the best of its kind without weights. Encoder and decoder
are residual blocks over patches of 4 x 4 x 4 pixels, about the detail that the latents can carry, with zeros for their
last weights: an untrained model is the baseline `dct`, and training adds to it. That is what a CPU can train in hours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import check_range, setting
from workbench.models.base import Autoencoder
from workbench.models.block_transform import BlockTransform
from workbench.models.checkpointing import set_checkpointing
from workbench.models.dct import from_blocks, to_blocks
from workbench.models.patch_blocks import Linear, PatchResBlock, RMSNorm, channels_last, space_to_channels
from workbench.models.streams import Beside, Stream, chain, each, sequence, whole_images
from workbench.stages import LocalStage, Push, Stage

_PATCH = (4, 4, 4)
_VALUES = 3 * 4 * 4 * 4
_PATCHES = 8
"""Patches along a side of a block of 32 pixels."""

_COEFFICIENT_STEP = 0.3
_PIXEL_STEP = 0.1
"""What an output of 1 of the encoder is in DCT coefficients, and of the decoder in [-1, 1]: about the deviations of
what the baseline drops, so that one learning rate suits both."""


@dataclass(frozen=True)
class TinyConfig:
    """The architecture.

    Raises:
        ConfigError: a value is out of range.
    """

    encoder_width: int = setting(64, "channels of the encoder")
    encoder_depth: int = setting(2, "residual blocks of the encoder")
    decoder_width: int = setting(96, "channels of the decoder")
    decoder_depth: int = setting(8, "residual blocks of the decoder")

    def __post_init__(self) -> None:
        check_range("encoder_width", self.encoder_width, 1)
        check_range("encoder_depth", self.encoder_depth, 0)
        check_range("decoder_width", self.decoder_width, 1)
        check_range("decoder_depth", self.decoder_depth, 0)


class Tiny(Autoencoder):
    """Latents are the baseline's coefficients over their usual deviation, plus what the encoder adds to them."""

    name = "tiny"
    latent_channels = 128
    temporal_stride = 4
    spatial_stride = 32
    default_tile_frames = 64  # small clips in one piece: its features need little memory
    default_tile_pixels = 640
    default_tiling_mode = "stages"  # exact, without overlap
    default_push_frames = 16
    encoder_parts = ("encoder", "to_latents", "image")

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.video, self.image = BlockTransform(4), BlockTransform(1)
        self.encoder = _network(config.encoder_width, config.encoder_depth)
        self.to_latents = _zeros(_PATCHES * _PATCHES * config.encoder_width, self.latent_channels)
        self.decoder = _network(config.decoder_width, config.decoder_depth)
        self.to_pixels = _zeros(config.decoder_width, _VALUES)

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
            learned = sequence(each(_patches_first), *_streams(self.encoder), channels_last(self._to_latents))
            clip = Beside(learned, self.video.analyse, partial(self._latents, self.video))
            return chain([whole_images(lambda x: self._encode(x, False)[0], clip)], size)

        unit, cell, reach = self.temporal_stride, (self.spatial_stride, 1), _reach(self.config.encoder_depth)
        return [LocalStage("encode", stream, self.frames_of, unit, cell, reach)]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """All of the decoder as one local stage; an image is no clip of one frame, and decoded at once."""

        def stream(size: int) -> Push:
            if is_image:
                return chain([each(lambda z: self._decode(z, 1))], size)
            frames = each(lambda features: self._to_frames(features.movedim(1, -1)))
            learned = sequence(each(_patches_first), *_streams(self.decoder), frames)
            clip = Beside(learned, lambda x: x, lambda learned, linear: linear + _PIXEL_STEP * learned)
            return chain([sequence(each(self.video.synthesise), clip)], size)

        cell, reach = (1, self.spatial_stride), _reach(self.config.decoder_depth)
        return [LocalStage("decode", stream, lambda latents: latents, 1, cell, reach)]

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, None]:
        transform = self._transform(x.shape[2])
        learned = self._to_latents(self.encoder(_patches(x))).movedim(-1, 1)
        return self._latents(transform, learned, transform.analyse(x)), None

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        linear = self._transform(num_frames).synthesise(z)
        learned = self._to_frames(self.decoder(_patches(linear)))
        return linear + _PIXEL_STEP * (learned.mean(2, keepdim=True) if num_frames == 1 else learned)

    def _to_latents(self, features: Tensor) -> Tensor:
        """Features (B, t, H, W, C) of the encoder to what they add to the latents, channels last."""
        return self.to_latents(F.silu(space_to_channels(features, _PATCHES)))

    def _to_frames(self, features: Tensor) -> Tensor:
        """Features (B, t, H, W, C) of the decoder to frames (B, 3, T, H, W)."""
        return from_blocks(self.to_pixels(F.silu(features)), _PATCH)

    @staticmethod
    def _latents(transform: BlockTransform, learned: Tensor, linear: Tensor) -> Tensor:
        return linear + _COEFFICIENT_STEP * learned / transform.deviation

    def _transform(self, num_frames: int) -> BlockTransform:
        return self.image if num_frames == 1 else self.video


def _patches(x: Tensor) -> Tensor:
    """Frames (B, 3, T, H, W) to (B, t, H / 4, W / 4, values of a patch); to the networks an image is a still clip."""
    return to_blocks(x.expand(-1, -1, _PATCH[0], -1, -1) if x.shape[2] == 1 else x, _PATCH)


def _patches_first(x: Tensor) -> Tensor:
    """The patches of a clip with their values as channels, (B, C, t, H / 4, W / 4)."""
    return _patches(x).movedim(-1, 1)


def _reach(depth: int) -> int:
    """Blocks of 32 pixels to each side that so many residual blocks, a patch each, look at."""
    return -(-depth // _PATCHES)


def _network(width: int, depth: int) -> nn.Sequential:
    blocks = nn.Sequential(*[PatchResBlock(width) for _ in range(depth)])
    return nn.Sequential(
        OrderedDict(
            project_in=Linear(_VALUES, width, gain=3.0),  # pixels in [-1, 1] deviate by about 0.4
            blocks=blocks,
            norm=RMSNorm(width),
        )
    )


def _streams(network: nn.Sequential) -> list[Stream]:
    project_in, blocks, norm = network.children()
    streams = (block.stream() for block in blocks.children() if isinstance(block, PatchResBlock))
    return [channels_last(project_in), *streams, channels_last(norm)]


def _zeros(inputs: int, outputs: int) -> Linear:
    return Linear(inputs, outputs, gain=0.0)
