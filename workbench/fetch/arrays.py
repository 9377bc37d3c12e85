"""Reading pickles that hold NumPy arrays and nothing else."""

import io
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from workbench.errors import WeightsError, first_line

# What a pickled array asks for, by the names of NumPy 1 and of NumPy 2. None of it runs anything.
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def read_arrays(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays of a pickle of nested dicts, by their keys joined with "/".

    Args:
        source: what it is called in a message.

    Raises:
        WeightsError: it is damaged, or holds or asks for anything but dicts and arrays of floats.
    """
    try:
        found = dict(_leaves(_ArraysOnly(io.BytesIO(data)).load(), ""))
    except Exception as error:  # a damaged pickle fails in any way
        raise WeightsError(
            f"{source}: not a pickle of plain arrays; nothing in it was run ({first_line(error)})"
        ) from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise WeightsError(f"{source}: {name} is no array of floats")
    return found


def _leaves(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        yield prefix, values
        return
    for name, value in values.items():
        yield from _leaves(value, f"{prefix}/{name}" if prefix else str(name))
