"""3D convolutions by the faster of torch's two ways on a CPU."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

_MOST = 20_480
"""Values of C x T x H of a single clip up to which torch leaves oneDNN out, which is 2 to 13 times as fast there."""


def conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], groups: int = 1
) -> Tensor:
    """`F.conv3d` of x (B, C, T, H, W). The two ways differ by rounding."""
    if _is_left_out(x, weight, groups):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), groups)
    return F.conv3d(x, weight, bias, stride, padding, groups=groups)


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
