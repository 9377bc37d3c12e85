"""Memory: what is free, and the peak of a piece of work; exact on a GPU, as near as the kernel tells on a CPU."""

import os
from collections.abc import Callable
from pathlib import Path

import torch


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or that Linux could give to this process; elsewhere those of the whole machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return _kilobytes("/proc/meminfo", "MemAvailable") * 1024
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate a tensor, on a GPU or on a CPU (where Linux often ends the process instead)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def watch_peak_memory(device: torch.device) -> Callable[[], float]:
    """Start watching; the function returned gives the megabytes by which the peak since then exceeds what was held.

    On a GPU this is what torch allocated there. On a CPU it is the resident memory of the whole process, by Linux's
    resettable high-water mark: memory that was freed before but not given back hides some of it. Elsewhere NaN.
    """
    peak = _cuda_peak(device) if device.type == "cuda" else _process_peak()
    return lambda: max(peak() / 1e6, 0.0)


def _cuda_peak(device: torch.device) -> Callable[[], float]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - before


def _process_peak() -> Callable[[], float]:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: float("nan")
    before = _kilobytes("/proc/self/status", "VmRSS")
    return lambda: (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024


def _kilobytes(file: str, field: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
