"""3D convolutions by the faster of torch's two ways on a CPU."""

import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from shutil import which

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

_MOST = 20_480
"""Values of C x T x H of a single clip up to which torch leaves oneDNN out, which is 2 to 13 times as fast there."""


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int = 1,
    silu: bool = False,
) -> Tensor:
    """`F.conv3d` of x (B, C, T, H, W), and of that the SiLU if asked. The ways differ by rounding."""
    if can_fuse(x):
        return _fused(x, weight, bias, stride, padding, groups, silu)
    if _is_left_out(x, weight, groups):
        y = torch.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), groups)
    else:
        x = x.contiguous() if groups == x.shape[1] else x  # channels-last, torch is far slower at these on a GPU
        y = F.conv3d(x, weight, bias, stride, padding, groups=groups)
    return F.silu(y, inplace=True) if silu else y


def can_fuse(x: Tensor) -> bool:
    """Whether `gpu_kernels` compute what x goes through: without gradients, on a GPU, where channels lie together."""
    if not x.is_cuda or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return has_kernels() and x.is_contiguous(memory_format=torch.channels_last_3d)


@cache
def has_kernels() -> bool:
    """Whether Triton is here, which torch brings along on Linux, and the compiler that it calls."""
    return find_spec("triton") is not None and bool(os.environ.get("CC") or which("gcc") or which("clang"))


def _fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    silu: bool,
) -> Tensor:
    from workbench.models.gpu_kernels import add_bias_and_silu, convolve_channels

    if groups == x.shape[1] == len(weight) and not silu and set(stride) == {1}:
        return convolve_channels(x, weight, bias, padding[0])
    if not silu or bias is None:
        y = F.conv3d(x, weight, bias, stride, padding, groups=groups)
        return F.silu(y, inplace=True) if silu else y
    y = F.conv3d(x, weight, None, stride, padding, groups=groups)
    return add_bias_and_silu(y.contiguous(memory_format=torch.channels_last_3d), bias)  # cuDNN's lies so already


def _is_left_out(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether torch would take its own kernels, by the rule of ATen/native/Convolution.cpp, and oneDNN could."""
    is_small = len(x) == 1 and groups == 1 and weight.shape[4] > 1 and x[0, :, :, :, 0].numel() <= _MOST
    is_float = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    is_plain = type(x) is Tensor and not torch.compiler.is_compiling()  # tracing sees what it knows
    return is_small and is_float and is_plain and _has_onednn()


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


def _operations(x: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    return conv_flop_count(list(x), list(weight), list(out_shape))


if torch.ops.aten.mkldnn_convolution not in flop_registry:  # so that counting operations sees the faster way too
    register_flop_formula(torch.ops.aten.mkldnn_convolution)(_operations)
