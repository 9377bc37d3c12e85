"""How glibc treats large blocks of memory: gives them back at once, or keeps them. Elsewhere nothing happens."""

import ctypes
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def give_large_blocks_back() -> None:
    """Return every block of 4 MiB or more to the system once it is freed.

    By default the limit rises to 32 MiB as soon as such a block is freed, and the heap between keeps growing for
    hundreds of frames: a long clip then takes a third more memory.
    """
    _set({_M_MMAP_THRESHOLD: 4 * 2**20})


def keep_large_blocks() -> None:
    """Reuse freed blocks of any size, and keep up to 256 MiB of them for good: call it before any thread starts.

    By default every tensor above 32 MiB is taken from the system, which clears it page by page: a third of the time of
    a small model on a CPU. One heap for all threads, since those of single threads cannot hold large blocks.
    """
    _set({_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 2**31 - 1, _M_TRIM_THRESHOLD: 256 * 2**20})


def give_freed_memory_back() -> None:
    """Return what was freed already, for once: what a process holds is then what it uses."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _set(options: Mapping[int, int]) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in options.items():
            libc.mallopt(option, value)
