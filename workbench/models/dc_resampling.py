"""Resampling of the Video DC-AE (arXiv 2410.10733 and 2503.09642): convolutions beside shortcuts without parameters.

The shortcuts move pixels to channels and back. All map (B, C, T, H, W) to that layout.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from workbench.models.checkpointing import Checkpointed, CheckpointedBlock, run_checkpointed
from workbench.models.convolution import conv3d
from workbench.models.dc_blocks import add_shortcut, conv_layer, match_channels, reachable_taps

Factors = tuple[int, int, int]
"""By how much T, H and W change."""


def pixel_unshuffle(x: Tensor, factors: Factors) -> Tensor:
    """Move blocks of `factors` in T, H and W to the channels: old channel slowest, then the offset in T, H and W."""
    batch, channels, *sizes = x.shape
    (t, h, w), (ft, fh, fw) = (size // factor for size, factor in zip(sizes, factors, strict=True)), factors
    return x.reshape(batch, channels, t, ft, h, fh, w, fw).permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def pixel_shuffle(x: Tensor, factors: Factors) -> Tensor:
    """The inverse of `pixel_unshuffle`."""
    x = x.unflatten(1, (-1, *factors)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.flatten(6).flatten(4, 5).flatten(2, 3)


def unshuffled(x: Tensor, factors: Factors, channels: int) -> Tensor:
    """`match_channels(pixel_unshuffle(x, factors), channels)`, the means over whole axes without a copy of x."""
    kept = _without_last(factors, x.shape[1] * prod(factors), channels)
    if kept is None:
        return match_channels(pixel_unshuffle(x, factors), channels)
    for axis, factor in zip((4, 3, 2), reversed(factors), strict=True):
        x = x.unflatten(axis, (-1, factor))
    for axis in range(3):
        if kept[axis] != factors[axis]:
            x = _mean_over(x, 3 + 2 * axis)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def _mean_over(x: Tensor, axis: int) -> Tensor:
    """The mean over a short axis, which stays as one of length 1: on a GPU sums of slices are faster than `mean`."""
    first, second, *others = x.split(1, axis)
    return sum(others, first + second).mul_(1 / x.shape[axis])


def shuffled_in_time(x: Tensor, factors: Factors, channels: int) -> Tensor:
    """What `add_shuffled` adds to a branch of so many channels, as `pixel_shuffle(match_channels(x), factors)` would.

    Returns:
        (B, C, T * factors[0], H, W) at the height and width of x where whole axes are repeated; else the shortcut.
    """
    kept = _without_last(factors, channels * prod(factors), x.shape[1])
    if kept is None or factors[1:] != (2, 2):
        return pixel_shuffle(match_channels(x, channels * prod(factors)), factors)
    if kept[0] == 1:
        return x.repeat_interleave(factors[0], dim=2) if factors[0] > 1 else x
    return x.unflatten(1, (channels, kept[0], -1)).permute(0, 1, 3, 4, 2, 5, 6).flatten(3, 4).flatten(1, 2)


def add_shuffled(branch: Tensor, shortcut: Tensor) -> Tensor:
    """branch (B, C, T, 2 H, 2 W) + what `shuffled_in_time` gives for it, its channels moved to 2 x 2 pixels."""
    if shortcut.shape == branch.shape:
        return add_shortcut(branch, shortcut)
    ratio = shortcut.shape[1] // branch.shape[1]
    rows = min(ratio, 2)
    pixels = shortcut.unflatten(1, (-1, rows, ratio // rows)).permute(0, 1, 4, 5, 2, 6, 3)
    return add_shortcut(branch.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)), pixels).flatten(5).flatten(3, 4)


def _without_last(factors: Factors, many: int, few: int) -> Factors | None:
    """The factors with 1 for those last ones whose product is many / few; None where there are none such."""
    ratio, kept = many / few, list(factors)
    for axis in (2, 1, 0):
        if ratio > 1:
            ratio, kept[axis] = ratio / factors[axis], 1
    return (kept[0], kept[1], kept[2]) if ratio == 1 else None


class Downsample(CheckpointedBlock):
    """A strided convolution beside pixels moved to channels and averaged. Halves H and W, and T where asked.

    A single frame, which is an image, stays one.
    """

    def __init__(self, in_channels: int, out_channels: int, halves_time: bool) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride = (2 if halves_time else 1, 2, 2)
        self.main = conv_layer(in_channels, out_channels, stride=self.stride)

    def _block(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Pixels of x moved to channels, and these averaged or repeated."""
        return unshuffled(x, self.stride if x.shape[2] > 1 else (1, 2, 2), self.out_channels)


class Upsample(Checkpointed):
    """A nearest upsample and convolution beside channels repeated and moved to pixels. Doubles H, W and T if asked."""

    def __init__(self, in_channels: int, out_channels: int, doubles_time: bool) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.doubles_time = doubles_time
        self.main = SpatialUpsampleConv(in_channels, out_channels)

    def forward(self, x: Tensor, is_image: bool) -> Tensor:
        """x (B, C, T, H, W) upsampled; of an image, time never is. T == 1 alone does not tell: it may be 4 frames."""
        factors = (2 if self.doubles_time and not is_image else 1, 2, 2)
        return run_checkpointed(partial(self._block, factors=factors), x, self.checkpointing)

    def _block(self, x: Tensor, factors: Factors) -> Tensor:
        branch = self.main(x.repeat_interleave(2, dim=2) if factors[0] == 2 else x)
        return add_shuffled(branch, shuffled_in_time(x, factors, self.out_channels))


class SpatialUpsampleConv(nn.Module):
    """A nearest upsample of H and W by 2 and a 3x3x3 convolution, computed on the input at its own resolution.

    Two of the three taps of a convolution fall on the same input row, and likewise column. So the outputs of even and
    of odd row and column are four 3x2x2 convolutions of the input with summed taps: 2.25 times fewer operations.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv_layer(in_channels, out_channels)

    @property
    def weight(self) -> Tensor:
        """That of the convolution (out, in, 3, 3, 3)."""
        return self.conv.get_parameter("conv.weight")

    def forward(self, x: Tensor) -> Tensor:
        weight = reachable_taps(self.weight, x.shape[2])
        return self.convolve(x, phase_kernels(weight), weight.shape[2] // 2)

    def convolve(self, x: Tensor, kernels: Sequence[Tensor], time_padding: int) -> Tensor:
        """The same with these `phase_kernels` of its weight and this padding of time."""
        bias, (height, width), phases = self.conv.get_parameter("conv.bias"), x.shape[3:], []
        for (row, column), kernel in zip(product((0, 1), (0, 1)), kernels, strict=True):
            y = conv3d(x, kernel, bias, (1, 1, 1), (time_padding, 1, 1))  # of every two neighbours, and at the borders
            phases.append(y[..., row : row + height, column : column + width])
        return _interleaved(phases)


def _interleaved(phases: list[Tensor]) -> Tensor:
    """The four phases (B, C, T, H, W) of even and odd rows and columns as one tensor of twice the height and width."""
    if torch.is_grad_enabled():
        return pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), (1, 2, 2))
    *front, height, width = phases[0].shape
    channels_last = phases[0].stride(1) == 1
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    y = torch.empty(
        (*front, 2 * height, 2 * width), dtype=phases[0].dtype, device=phases[0].device, memory_format=layout
    )
    for (row, column), phase in zip(product((0, 1), (0, 1)), phases, strict=True):
        y[..., row::2, column::2] = phase
    return y


def phase_kernels(weight: Tensor) -> list[Tensor]:
    """The four kernels (out, in, t, 2, 2) for even and odd rows, and in each for even and odd columns, of outputs."""
    return [kernel for rows in _two_of_three(weight, 3) for kernel in _two_of_three(rows, 4)]


def _two_of_three(weight: Tensor, axis: int) -> list[Tensor]:
    """The two kernels of outputs at even and odd places: which of three taps fall on each of two input neighbours."""
    first, middle, last = weight.split(1, axis)
    return [torch.cat(pair, axis) for pair in ((first, middle + last), (first + middle, last))]
