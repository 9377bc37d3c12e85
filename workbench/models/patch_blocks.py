"""Residual blocks over patches of pixels, cheap on a CPU. All work on channels-last features (B, T, H, W, C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock
from workbench.models.streams import Beside, ConvStream, Stream, each, same, sequence
from workbench.stages import Apply


def space_to_channels(x: Tensor, factor: int) -> Tensor:
    """(B, T, H, W, C) to (B, T, H / factor, W / factor, factor * factor * C)."""
    x = x.unflatten(3, (-1, factor)).unflatten(2, (-1, factor))
    return x.transpose(3, 4).flatten(4)


def channels_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_channels`."""
    x = x.unflatten(4, (factor, factor, -1)).transpose(3, 4)
    return x.flatten(4, 5).flatten(2, 3)


class Linear(nn.Linear):
    """A linear layer whose outputs have `gain` times the deviation of its inputs at first, and no bias then."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0) -> None:
        self.gain = gain
        super().__init__(inputs, outputs)

    def reset_parameters(self) -> None:
        draw(self.weight, self.gain)
        nn.init.zeros_(self.bias)


class SpatialConv(nn.Conv2d):
    """A 3x3 convolution of every frame by itself, padded with zeros."""

    def __init__(self, channels: int, gain: float) -> None:
        self.gain = gain
        super().__init__(channels, channels, 3, padding=1)

    def reset_parameters(self) -> None:
        draw(self.weight, self.gain)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.flatten(0, 1).permute(0, 3, 1, 2)  # channels-last in memory, which the fast kernels want
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(frames, weight, self.bias, padding=1).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class TemporalConv(nn.Module):
    """A convolution over three steps in time, padded with zeros: a matrix product for each of them."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.linear = Linear(3 * channels, channels, gain)

    def forward(self, x: Tensor) -> Tensor:
        before, now, after = self.linear.weight.chunk(3, dim=1)
        y = F.linear(x, now, self.linear.bias)
        y[:, 1:] += F.linear(x[:, :-1], before)
        y[:, :-1] += F.linear(x[:, 1:], after)
        return y

    def valid(self, x: Tensor) -> Tensor:
        """The same without padding."""
        before, now, after = self.linear.weight.chunk(3, dim=1)
        y = F.linear(_rows(x[:, 1:-1]), now, self.linear.bias)
        y = torch.addmm(y, _rows(x[:, :-2]), before.t())  # not in place, which autocast would leave as it is
        y = torch.addmm(y, _rows(x[:, 2:]), after.t())
        return y.unflatten(0, (x.shape[0], x.shape[1] - 2, *x.shape[2:-1]))


def _rows(x: Tensor) -> Tensor:
    """All positions of (..., C) as one matrix: of more dimensions torch makes many small products, half as fast."""
    return x.flatten(0, -2)


class RMSNorm(nn.RMSNorm):
    """Over the channels, in the type of its input also under autocast, where torch's would leave its fast kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class PatchResBlock(CheckpointedBlock):
    """The DC-AE's residual block with its norm first and its second convolution over time only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)
        self.conv1 = SpatialConv(channels, gain=1.4)  # SiLU halves the deviation of a normal
        self.conv2 = TemporalConv(channels, gain=0.1)

    def stream(self) -> Stream:
        """The block streamed in time, on channels-first features (B, C, T, H, W)."""
        main = sequence(channels_last(self._within_frames), ConvStream(_moved(self.conv2.valid)))
        return Beside(main, same, torch.add)

    def _block(self, x: Tensor) -> Tensor:
        return x + self.conv2(self._within_frames(x))

    def _within_frames(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(self.norm(x)))


def channels_last(function: Apply) -> Stream:
    """The stream of a function of single frames, which takes and gives channels-last features."""
    return each(_moved(function))


def _moved(function: Apply) -> Apply:
    return lambda x: function(x.movedim(1, -1)).movedim(-1, 1)


def draw(weight: Tensor, gain: float) -> None:
    """Normal values of deviation gain / sqrt(inputs of an output); nothing on the meta device."""
    if not weight.is_meta:  # torch would import its compiler to
        nn.init.normal_(weight, std=gain * weight[0].numel() ** -0.5)
