"""Memory: what is free, and the peak of a piece of work; exact on a GPU, as near as the kernel tells on a CPU."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from workbench.allocator import give_freed_memory_back

_VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
_VERSION_2 = "memory.max", "memory.current", "inactive_file"
"""Of a control group: files of its limit and of what it uses, and the field of memory.stat that tells caches."""


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or that Linux could give to this process; elsewhere those of the whole machine.

    Limits of the process and of its container count: Linux ends a process that goes over the latter, without an error.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        free = _kilobytes("/proc/meminfo", "MemAvailable") * 1024
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(min([free, *_left_of_process(), *left_of_groups()]), 0)


def _left_of_process() -> Iterator[int]:
    """What is left of a limit on the address space of this process."""
    import resource  # not there on Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - _kilobytes("/proc/self/status", "VmSize") * 1024


def left_of_groups(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What is left of the limits of the control groups that this process is in, of version 1 or 2; caches are free.

    Args:
        own: names the groups; a container may see names of outside, and its own group at the root.
        root: where the folders of groups are.
    """
    if not own.is_file():  # a kernel without them
        return
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        names = _VERSION_1 if controllers else _VERSION_2
        group = top / path.strip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(top) and all((folder / name).is_file() for name in (*names[:2], "memory.stat")):
                limit, used = ((folder / name).read_text().strip() for name in names[:2])
                if limit != "max":
                    yield int(limit) - int(used) + _value_of(folder / "memory.stat", names[2])


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate a tensor, on a GPU or on a CPU (where Linux often ends the process instead)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def watch_peak_memory(device: torch.device) -> Callable[[], float]:
    """Start watching; the function returned gives the megabytes by which the peak since then exceeds what was held.

    On a GPU this is what torch allocated there. On a CPU it is the resident memory of the whole process, by Linux's
    resettable high-water mark, after freed memory is given back. Elsewhere NaN.
    """
    peak = _cuda_peak(device) if device.type == "cuda" else _process_peak()
    return lambda: max(peak() / 1e6, 0.0)


def _cuda_peak(device: torch.device) -> Callable[[], float]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - before


def _process_peak() -> Callable[[], float]:
    give_freed_memory_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: float("nan")
    before = _kilobytes("/proc/self/status", "VmRSS")
    return lambda: (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024


def _kilobytes(file: str, field: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _value_of(file: Path, field: str) -> int:
    lines = file.read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field} ")), 0)
