"""Blocks of the Video DC-AE (arXiv 2503.09642, after DC-AE, arXiv 2410.10733). All map (B, C, T, H, W) to that layout.

Convolutions pad every side of T, H and W with zeros. `EfficientViTBlock` is that of EfficientViT (arXiv 2205.14756),
its gated branch that of SANA (arXiv 2410.10629). Attribute names are those of the released checkpoint.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock
from workbench.models.convolution import can_fuse, conv3d

NORM_EPS = 1e-5
ATTENTION_EPS = 1e-15
HEAD_SIZE = 32
INIT_STD = 0.02


def add_shortcut(branch: Tensor, shortcut: Tensor) -> Tensor:
    """branch + shortcut, in place on the branch (never needed for its own gradient) unless the sum has a wider type."""
    if torch.promote_types(branch.dtype, shortcut.dtype) == branch.dtype:
        return branch.add_(shortcut)
    return branch + shortcut


def match_channels(x: Tensor, channels: int) -> Tensor:
    """Repeat every channel, or average groups of consecutive ones, to this number of channels."""
    if channels >= x.shape[1]:
        return x.repeat_interleave(channels // x.shape[1], dim=1)
    return x.unflatten(1, (channels, -1)).mean(2)


def reachable_taps(weight: Tensor, frames: int) -> Tensor:
    """The convolution weight without, for a single frame, the taps in time that would only meet zero padding."""
    centre = weight.shape[2] // 2
    return weight[:, :, centre : centre + 1] if frames == 1 else weight


def _draw(weight: Tensor) -> Tensor:
    """Fill with the initial values of the training recipe; on the meta device torch would import its compiler to."""
    return weight if weight.is_meta else nn.init.normal_(weight, std=INIT_STD)


class Conv3d(nn.Conv3d):
    """A convolution of odd kernel size padded with zeros, with the initial weights of the training recipe.

    Attributes:
        chunk: frames after which it begins anew: the first ones of a chunk see those before them, the last ones see
            zeros instead of the next chunk (chunk-causal, arXiv 2509.25182). None for a clip in one piece.
    """

    chunk: int | None = None

    def reset_parameters(self) -> None:
        # The recipe's truncated normal is cut at 100 standard deviations, which is no cut at all.
        _draw(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, silu: bool = False) -> Tensor:
        """The convolution of x, and of that the SiLU if asked."""
        if self.chunk is not None and x.shape[2] > self.chunk:
            return torch.cat([self.valid(window, silu) for window in self._chunks(x, self.chunk)], dim=2)
        weight = reachable_taps(self.weight, x.shape[2])
        return self._convolve(x, weight, weight.shape[2] // 2, silu)

    def _chunks(self, x: Tensor, chunk: int) -> Iterator[Tensor]:
        """The chunks of x, each with the frames before it, or zeros at the clip's start, and zeros after it."""
        past = self.kernel_size[0] // 2
        for start in range(0, x.shape[2], chunk):
            window = x[:, :, max(start - past, 0) : start + chunk]
            yield F.pad(window, (0, 0, 0, 0, max(past - start, 0), past))

    def valid(self, x: Tensor, silu: bool = False) -> Tensor:
        """The same without padding in time."""
        return self._convolve(x, self.weight, 0, silu)

    def _convolve(self, x: Tensor, weight: Tensor, time_padding: int, silu: bool) -> Tensor:
        padding = (time_padding, *(size // 2 for size in weight.shape[3:]))
        return conv3d(x, weight, self.bias, self.stride, padding, self.groups, silu)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over channels, with scale and bias; the mean is taken in at least float32.

    The training recipe draws the scales around 0 as it does the convolutions, so that residual branches start near
    zero and the shortcuts carry the signal. Without gradients it works in place on its input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_draw(torch.empty(channels)))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """x normalised, plus a shortcut of its shape where there is one."""
        if can_fuse(x):
            from workbench.models.gpu_kernels import norm_and_add

            return norm_and_add(x, self.weight, self.bias, shortcut, NORM_EPS)
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=wide)  # keeps no wider copy of x for the backward
        scale = torch.rsqrt(norm.square() / x.shape[1] + NORM_EPS)
        x = (x * scale).to(x.dtype) if torch.is_grad_enabled() else x.mul_(scale)
        weight, bias = (parameter.view(-1, 1, 1, 1) for parameter in (self.weight, self.bias))
        y = (x * weight).add_(bias)
        return y if shortcut is None else add_shortcut(y, shortcut)


def conv_layer(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: tuple[int, int, int] = (1, 1, 1),
    groups: int = 1,
    bias: bool = True,
    norm: bool = False,
    chunk: int | None = None,
) -> nn.Sequential:
    """A convolution named `conv`, in chunks of so many frames or in one piece, and RMSNorm named `norm` if asked."""
    conv = Conv3d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)
    conv.chunk = chunk
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if norm:
        layers["norm"] = RMSNorm(out_channels)
    return nn.Sequential(layers)


class ResBlock(CheckpointedBlock):
    """Two 3x3x3 convolutions with SiLU between and RMSNorm after, beside the identity."""

    def __init__(self, channels: int, chunk: int | None = None) -> None:
        super().__init__()
        conv1 = conv_layer(channels, channels, chunk=chunk)
        conv2 = conv_layer(channels, channels, bias=False, norm=True, chunk=chunk)
        self.main = nn.Sequential(OrderedDict(conv1=conv1, act=nn.SiLU(inplace=True), conv2=conv2))

    def _block(self, x: Tensor) -> Tensor:
        if not can_fuse(x):
            return add_shortcut(self.main(x), x)
        conv1, conv2, norm = self.layers
        return norm(conv2(conv1(x, silu=True)), x)

    @property
    def layers(self) -> tuple[Conv3d, Conv3d, RMSNorm]:
        """Both convolutions, the first of which computes the activation after it too, and the norm."""
        conv1, conv2, norm = map(self.main.get_submodule, ("conv1.conv", "conv2.conv", "conv2.norm"))
        assert isinstance(conv1, Conv3d)
        assert isinstance(conv2, Conv3d)
        assert isinstance(norm, RMSNorm)
        return conv1, conv2, norm


class Residual(nn.Module):
    """`main` beside the identity; where `main` changes the channels, the shortcut repeats or averages them."""

    def __init__(self, main: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.main = main
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        return add_shortcut(self.main(x), self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """x with as many channels as `main` gives."""
        return x if x.shape[1] == self.out_channels else match_channels(x, self.out_channels)


class BlockList(nn.Module):
    """Blocks run one after another; a stage of the encoder."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.op_list:
            x = block(x)
        return x


def blocks_of(stages: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The blocks of `BlockList`s, in order."""
    return (block for stage in stages for block in stage.get_submodule("op_list").children())


def outputs_of(stages: Iterable[nn.Module], x: Tensor) -> Iterator[Tensor]:
    """What every stage makes of the output of the one before, the first of x, computed as it is taken."""
    for stage in stages:
        x = stage(x)
        yield x


def last_of(outputs: Iterator[Tensor]) -> Tensor:
    """The last of these; no other is kept."""
    return deque(outputs, maxlen=1).pop()


class EfficientViTBlock(CheckpointedBlock):
    """Linear attention over the whole clip, then a gated local convolution, each beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_module = Residual(MultiScaleLinearAttention(channels), channels)
        self.local_module = Residual(GatedBottleneck(channels), channels)

    def _block(self, x: Tensor) -> Tensor:
        return self.local_module(self.context_module(x))


def attention_heads(channels: int) -> int:
    """Heads of 32 channels; narrower models have one head."""
    return max(1, channels // HEAD_SIZE)


class MultiScaleLinearAttention(nn.Module):
    """ReLU linear attention whose queries, keys and values come at two scales: pointwise, and from 5x5x5 windows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        heads = attention_heads(channels)
        self.head_size = channels // heads
        self.qkv = conv_layer(channels, 3 * channels, 1, bias=False)
        window = Conv3d(3 * channels, 3 * channels, 5, groups=3 * channels, bias=False)
        mix = Conv3d(3 * channels, 3 * channels, 1, groups=3 * heads, bias=False)
        self.aggreg = nn.ModuleList([nn.Sequential(window, mix)])
        self.proj = conv_layer(2 * channels, channels, 1, bias=False, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        scales = [qkv, *(aggregate(qkv) for aggregate in self.aggreg)]
        return self.proj(linear_attention(torch.cat(scales, dim=1), self.head_size))


def linear_attention(qkv: Tensor, head_size: int) -> Tensor:
    """ReLU linear attention over all positions, of cost linear in their number (EfficientViT, arXiv 2205.14756).

    float16 would overflow and is computed in float32. bfloat16 rounds both products and the quotient, which PyTorch
    computes in float32, once each.

    Args:
        qkv: (B, heads * 3 * head_size, T, H, W), for each head its queries, keys and values; autocast does not apply.

    Returns:
        (B, heads * head_size, T, H, W) in the type of qkv.
    """
    with torch.autocast("cpu" if qkv.is_meta else qkv.device.type, enabled=False):  # meta tensors are only counted
        grouped = qkv.float() if qkv.dtype == torch.float16 else qkv
        q, k, v = grouped.flatten(2).unflatten(1, (-1, 3 * head_size)).chunk(3, dim=2)
        v = F.pad(v, (0, 0, 0, 1), value=1.0)  # the row of ones sums the attention that each query pays
        out = (v @ k.relu().transpose(-1, -2)) @ q.relu()
        out = out[:, :, :-1] / (out[:, :, -1:] + ATTENTION_EPS)
    return out.to(qkv.dtype).flatten(1, 2).unflatten(2, qkv.shape[2:])


class GatedBottleneck(nn.Module):
    """Widen 8 times, convolve every channel by itself, gate one half with the other, narrow again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inverted_conv = conv_layer(channels, 8 * channels, 1)
        self.depth_conv = conv_layer(8 * channels, 8 * channels, groups=8 * channels)
        self.point_conv = conv_layer(4 * channels, channels, 1, bias=False, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.depth_conv(self.widen(x)))

    def widen(self, x: Tensor) -> Tensor:
        """The part before the convolution."""
        return self.inverted_conv.get_submodule("conv")(x, silu=True)

    def gate(self, x: Tensor) -> Tensor:
        """The part after it."""
        x, gate = x.chunk(2, dim=1)
        return self.point_conv(x * F.silu(gate))
