"""Where to compute and in which type. Torch is imported when it is needed: settings name types and devices only."""

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from workbench.config import check_choice
from workbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound="torch.nn.Module")

DTYPES = ("float32", "bfloat16", "float16")

DEVICE_HELP = "cuda, cuda:1, cpu; by default the GPU where there is one"
DTYPE_HELP = "float32, bfloat16 or float16; by default bfloat16 on a GPU, float32 on a CPU"


def pick_device(device: "str | torch.device | None") -> "torch.device":
    """The device asked for, or the GPU where there is one and else the CPU."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cuda", "cpu"):
        raise ConfigError(f"`device`: {device!r} is not a device that is supported; use cuda, cuda:0 or cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"`device`: there are {torch.cuda.device_count()} GPUs here, not {device}; use cpu")
    return chosen


def known_devices() -> list[str]:
    """The names of all devices here, the CPU last. Torch, whose import takes over a second, is asked only where there
    is a driver: without one there is no GPU."""
    if not any(map(_can_load, ("libcuda.so.1", "nvcuda.dll"))) and not Path("/dev/kfd").exists():
        return ["cpu"]
    import torch

    return [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu"]


def _can_load(library: str) -> bool:
    try:
        return bool(ctypes.CDLL(library))
    except OSError:
        return False


def pick_dtype(dtype: "str | torch.dtype | None", device: "torch.device") -> "torch.dtype":
    """The type asked for, or bfloat16 on a GPU and float32 on a CPU (where bfloat16 is often emulated and slow)."""
    import torch

    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch_dtype(dtype)


def laid_out(module: M, memory_format: "torch.memory_format") -> M:
    """The module itself, the weights of its convolutions laid out in memory like this.

    Those of single channels keep the plain layout: it is the only one in which torch is quick at them on a GPU.
    """
    import torch

    sizes = {torch.channels_last: (4,), torch.channels_last_3d: (5,)}.get(memory_format, (4, 5))
    for weight in module.parameters():
        if weight.dim() in sizes and weight.shape[1] > 1:
            # `contiguous` would leave the strides of 1x1 kernels, by which convolutions choose, as they are.
            laid = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device, memory_format=memory_format)
            weight.data = laid.copy_(weight.data)
    return module


def torch_dtype(name: str) -> "torch.dtype":
    """The type of one of the names in `DTYPES`."""
    import torch

    check_choice("dtype", name, DTYPES)
    return getattr(torch, name)
