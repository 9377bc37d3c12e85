"""Exact values of a finished job: frames and slices from its lossless file, never from the previews."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.compare.slices import xt_slice
from workbench.errors import FileError, ShapeError
from workbench.files import quoted

MAX_SLICE_FRAMES = 480
_NAME = "exact.npy"
_MAX_BYTES = 2e9  # of both clips together


def exact_path(folder: Path) -> Path:
    """Where a job keeps the frames of the original and of the reconstruction, see `Outputs.pairs`."""
    return folder / _NAME


def keeps_exact_frames(num_frames: int | None, height: int, width: int) -> bool:
    """Whether a clip's frames can be kept: it is short enough, and not of unknown length."""
    return num_frames is not None and 2 * num_frames * height * width * 3 <= _MAX_BYTES


def read_pair(folder: Path, frame: int) -> tuple[Tensor, Tensor]:
    """One frame of the original and of the reconstruction, uint8 (3, H, W).

    Raises:
        ShapeError: there is no such frame.
        FileError: the file is gone.
    """
    return read_frame(folder, frame, is_original=True), read_frame(folder, frame, is_original=False)


def read_frame(folder: Path, frame: int, is_original: bool) -> Tensor:
    """One frame of either clip, uint8 (3, H, W); errors as of `read_pair`."""
    pairs = _pairs_in(folder)
    if not 0 <= frame < len(pairs):
        raise ShapeError(f"no frame {frame}, the clip has {len(pairs)}")
    return torch.from_numpy(np.array(pairs[frame, 0 if is_original else 1]))


def read_slice(folder: Path, row: int, is_original: bool) -> Tensor:
    """One row of the first frames, at most MAX_SLICE_FRAMES, of either clip: uint8 (3, T, W).

    Raises:
        ShapeError: there is no such row.
        FileError: the file is gone.
    """
    pairs = _pairs_in(folder)
    if not 0 <= row < pairs.shape[3]:
        raise ShapeError(f"no row {row}, frames have {pairs.shape[3]}")
    return xt_slice(torch.from_numpy(np.array(pairs[:MAX_SLICE_FRAMES, 0 if is_original else 1, :, row : row + 1])), 0)


def _pairs_in(folder: Path) -> np.ndarray:
    """The array of `exact_path`, mapped: only what is looked at is read.

    `np.load` reads its header by Python's parser, which in 3.11 now and then fails where two threads are in it at once
    (SystemError: AST constructor recursion depth mismatch), as when the player asks for A and B.
    """
    path = exact_path(folder)
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            header = file.read(int.from_bytes(file.read(2), "little")).decode("latin1")
            shape = [int(size) for size in re.findall(r"\d+", header.partition("'shape'")[2])]
            return np.memmap(path, np.uint8, "r", file.tell(), tuple(shape))
    except (OSError, ValueError) as error:  # gone, or cut off
        raise FileError(f"{quoted(folder)}: its exact frames cannot be read ({error})") from None
