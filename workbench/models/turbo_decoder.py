"""A small decoder for the latents of a large autoencoder, of the shape of Turbo-VAED (arXiv 2508.09136).

Most of a Video DC-AE's decoding is spent where sides are whole, halves and quarters. Here the last stage works on sides
of a quarter, and its pixels come out of channels; the stage at the latents has depth-wise separable convolutions; there
is no attention, so that all of it is local and streamed. Kept from the DC-AE are residual blocks and shortcuts.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from workbench.models.checkpointing import run_checkpointed
from workbench.models.dc_blocks import (
    BlockList,
    ResBlock,
    Residual,
    RMSNorm,
    blocks_of,
    conv_layer,
    last_of,
    outputs_of,
)
from workbench.models.layer_streams import reach_of, stream_of
from workbench.models.local_blocks import ConvShuffle, SeparableResBlock, ShuffleUp
from workbench.models.streams import chain, each
from workbench.stages import Apply, LocalStage, Push

TIME_DOUBLINGS = 2


class TurboDecoder(nn.Module):
    """Unscaled latents (B, C, t, h, w) to frames (B, 3, 4t, H, W); an image is the mean of the four.

    Args:
        widths, depths: channels and residual blocks of every stage, from the pixels to the latents.
        spatial_stride: pixels of a side to a latent.
    """

    checkpoint_output: bool = False

    def __init__(self, latent_channels: int, widths: Sequence[int], depths: Sequence[int], spatial_stride: int) -> None:
        super().__init__()
        self.spatial_stride = spatial_stride
        self.project_in = Residual(conv_layer(latent_channels, widths[-1]), widths[-1])
        self.stages = nn.ModuleList(self._stage(widths, depths, stage) for stage in range(len(widths)))
        patch = spatial_stride // 2 ** (len(widths) - 1)
        output = ConvShuffle(widths[0], 3, (1, patch, patch))
        self.project_out = BlockList([RMSNorm(widths[0]), nn.SiLU(inplace=True), output])

    @staticmethod
    def _stage(widths: Sequence[int], depths: Sequence[int], stage: int) -> BlockList:
        deepest = len(widths) - 1
        kind = SeparableResBlock if stage == deepest else ResBlock
        blocks: list[nn.Module] = [kind(widths[stage]) for _ in range(depths[stage])]
        if stage < deepest:
            frames = 2 if stage >= deepest - TIME_DOUBLINGS else 1
            blocks.insert(0, ShuffleUp(widths[stage + 1], widths[stage], (frames, 2, 2)))
        return BlockList(blocks)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution."""
        return self.get_parameter("project_out.op_list.2.conv.conv.weight")

    def local_stage(self, unscaled: Apply, is_image: bool) -> LocalStage:
        """All of it as one stage on scaled latents, which the function unscales first; an image is decoded at once."""
        layers = [self.project_in, *blocks_of(reversed(self.stages)), *self.project_out.op_list]

        def stream(size: int) -> Push:
            if is_image:
                return chain([each(lambda z: self(unscaled(z), is_image=True))], size)
            return chain([each(unscaled), *map(stream_of, layers)], size)

        cell = 1, self.spatial_stride
        return LocalStage("decode", stream, lambda latents: latents, 1, cell, reach_of(layers, cell))

    def stage_outputs(self, z: Tensor, is_image: bool) -> Iterator[Tensor]:
        """What every stage makes, the deepest first, computed as it is taken; frames of an image are several."""
        return outputs_of(reversed(self.stages), self.project_in(z))

    def forward(self, z: Tensor, is_image: bool) -> Tensor:
        x = last_of(self.stage_outputs(z, is_image))
        y = run_checkpointed(self.project_out, x, self.checkpoint_output)
        return y.mean(2, keepdim=True) if is_image else y
