"""Faults of frameworks that are known to give wrong or slow results with video autoencoders, by version."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Setting:
    """What a fault depends on; versions as tuples of numbers, cuDNN's empty without it."""

    device: str
    dtype: torch.dtype
    torch: tuple[int, ...]
    cudnn: tuple[int, ...]


_BF16 = torch.bfloat16

FAULTS: tuple[tuple[Callable[[Setting], bool], str], ...] = (
    (
        lambda s: s.device == "cuda" and s.dtype == _BF16 and (9, 8) <= s.cudnn[:2] <= (9, 10),
        "bfloat16 3D convolutions are silently wrong on cuDNN 9.8 to 9.10 (pytorch#163539): use float32 or cuDNN 9.11",
    ),
    (
        lambda s: s.device == "cuda" and s.torch[:2] == (2, 9) and () < s.cudnn < (9, 15),
        "3D convolutions of torch 2.9 take three times the memory before cuDNN 9.15 (pytorch#166643, #177406)",
    ),
    (
        lambda s: s.device == "cpu" and s.dtype == _BF16,
        "convolutions in bfloat16 are 4 to 16 times as slow as in float32 on CPUs (pytorch#183815): use float32",
    ),
)
"""When it holds, and what to say; sources are issues of the framework."""


def known_faults(device: torch.device, dtype: torch.dtype) -> list[str]:
    """A line for each fault that holds here."""
    setting = Setting(device.type, dtype, _numbers(torch.__version__), _cudnn())
    return [words for holds, words in FAULTS if holds(setting)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2])


def _cudnn() -> tuple[int, ...]:
    """(9, 10, 2) of the number 91002; cuDNN 8 and older count in thousands."""
    version = torch.backends.cudnn.version() or 0
    if not version:
        return ()
    return (version // 10000, version // 100 % 100, version % 100) if version >= 90000 else (version // 1000,)
