"""What the Video DC-AE does between its convolutions, each in one pass over the memory of a GPU, by Triton kernels.

In single steps norm and shortcut take as long as a convolution, and torch's convolutions of single channels as long as
a third of the network. For tensors that are laid out channels-last, where the channels of a position lie together.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_VALUES_AT_ONCE = 4096


def norm_and_add(x: Tensor, weight: Tensor, bias: Tensor, shortcut: Tensor | None, eps: float) -> Tensor:
    """x over its root mean square of the channels, scaled and shifted, plus the shortcut; in place on x.

    Args:
        x: (B, C, T, H, W) on a GPU, laid out as `torch.channels_last_3d`.
        weight, bias: (C,).
        shortcut: as x, in any layout.
    """
    channels = x.shape[1]
    rows = x.numel() // channels
    width = triton.next_power_of_2(channels)
    height = max(1, _VALUES_AT_ONCE // width)
    added = x if shortcut is None else shortcut.contiguous(memory_format=torch.channels_last_3d)
    with torch.cuda.device(x.device):
        _norm_and_add[(triton.cdiv(rows, height),)](
            x, added, weight, bias, rows, eps, shortcut is not None, channels, width, height
        )
    return x


def add_bias_and_silu(x: Tensor, bias: Tensor) -> Tensor:
    """The SiLU of x (B, C, T, H, W), laid out as `torch.channels_last_3d` on a GPU, plus bias (C,); in place on x."""
    blocks = triton.cdiv(x.numel(), _VALUES_AT_ONCE)
    with torch.cuda.device(x.device):
        _add_bias_and_silu[(blocks,)](x, bias, x.numel(), x.shape[1], _VALUES_AT_ONCE)
    return x


@torch.library.custom_op("workbench::convolve_channels", mutates_args=())  # what counts operations sees it so
def convolve_channels(x: Tensor, weight: Tensor, bias: Tensor | None, time_padding: int) -> Tensor:
    """The convolution of every channel by itself, padded with zeros; sums are float32.

    Args:
        x: (B, C, T, H, W) on a GPU, laid out as `torch.channels_last_3d`.
        weight: (C, 1, t, k, k) of odd sizes; H and W are padded by k // 2, T by `time_padding`.
        bias: (C,).

    Returns:
        (B, C, T + 2 * time_padding - t + 1, H, W), laid out as x.
    """
    batch, channels, frames, height, width = x.shape
    taps_t, taps = weight.shape[2], weight.shape[3]
    frames_out = frames + 2 * time_padding - taps_t + 1
    y = torch.empty(
        (batch, channels, frames_out, height, width), dtype=x.dtype, device=x.device,
        memory_format=torch.channels_last_3d,
    )  # fmt: skip
    by_tap = weight.flatten(1).t().contiguous()
    columns, together = min(16, triton.next_power_of_2(width)), 64
    grid = batch * frames_out * height, triton.cdiv(width, columns), triton.cdiv(channels, together)
    with torch.cuda.device(x.device):
        _convolve_channels[grid](
            x, by_tap, y if bias is None else bias, y, frames, frames_out, height, width, channels, time_padding,
            bias is not None, taps_t, taps, columns, together
        )  # fmt: skip
    return y


@register_flop_formula(torch.ops.workbench.convolve_channels)
def _operations(x: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    return 2 * out_shape.numel() * weight[2:].numel()


@triton.jit
def _norm_and_add(x_at, added_at, weight_at, bias_at, rows, eps, ADDS: tl.constexpr, CHANNELS: tl.constexpr,
                  WIDTH: tl.constexpr, HEIGHT: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    channel = tl.arange(0, WIDTH)
    place = row[:, None] * CHANNELS + channel[None, :]
    there = (row[:, None] < rows) & (channel[None, :] < CHANNELS)
    x = tl.load(x_at + place, mask=there, other=0.0).to(tl.float32)
    weight = tl.load(weight_at + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)
    bias = tl.load(bias_at + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=1) / CHANNELS + eps)
    y = x * scale[:, None] * weight[None, :] + bias[None, :]
    if ADDS:
        y += tl.load(added_at + place, mask=there, other=0.0).to(tl.float32)
    tl.store(x_at + place, y.to(x_at.dtype.element_ty), mask=there)


@triton.jit
def _add_bias_and_silu(x_at, bias_at, values, CHANNELS: tl.constexpr, COUNT: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * COUNT + tl.arange(0, COUNT)
    there = place < values
    x = tl.load(x_at + place, mask=there, other=0.0).to(tl.float32)
    x += tl.load(bias_at + place % CHANNELS, mask=there, other=0.0).to(tl.float32)
    tl.store(x_at + place, (x * tl.sigmoid(x)).to(x_at.dtype.element_ty), mask=there)


@triton.jit
def _convolve_channels(x_at, weight_at, bias_at, y_at, frames, frames_out, height, width, channels, time_padding,
                       HAS_BIAS: tl.constexpr, TAPS_T: tl.constexpr, TAPS: tl.constexpr, COLUMNS: tl.constexpr,
                       TOGETHER: tl.constexpr):  # fmt: skip
    row = tl.program_id(0) % height
    frame = tl.program_id(0) // height % frames_out
    clip = tl.program_id(0) // height // frames_out
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    channel = tl.program_id(2) * TOGETHER + tl.arange(0, TOGETHER)
    known = channel < channels
    total = tl.zeros((COLUMNS, TOGETHER), tl.float32)
    for t in tl.static_range(TAPS_T):
        for h in range(TAPS):
            at_t, at_h = frame + t - time_padding, row + h - TAPS // 2
            if (at_t >= 0) & (at_t < frames) & (at_h >= 0) & (at_h < height):
                line = ((clip * frames + at_t) * height + at_h).to(tl.int64) * width
                for w in tl.static_range(TAPS):
                    at_w = column + w - TAPS // 2
                    there = ((at_w >= 0) & (at_w < width))[:, None] & known[None, :]
                    place = (line + at_w)[:, None] * channels + channel[None, :]
                    x = tl.load(x_at + place, mask=there, other=0.0).to(tl.float32)
                    tap = (t * TAPS + h) * TAPS + w
                    total += x * tl.load(weight_at + tap * channels + channel, mask=known, other=0.0).to(tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_at + channel, mask=known, other=0.0).to(tl.float32)
    line = ((clip * frames_out + frame) * height + row).to(tl.int64) * width
    place = (line + column)[:, None] * channels + channel[None, :]
    tl.store(y_at + place, total.to(y_at.dtype.element_ty), mask=(column < width)[:, None] & known[None, :])
