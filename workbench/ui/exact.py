"""Exact values of a finished job for the player: frames and slices from its lossless file, never from the previews."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.compare.pictures import picture
from workbench.compare.slices import xt_slice
from workbench.errors import WorkbenchError
from workbench.media import open_stream
from workbench.ui.jobs import JobFolders

MAX_SLICE_FRAMES = 480
_STEM = "exact"
_MAX_BYTES = 4e9  # of raw frames, both clips together; the lossless file is a quarter to a half of it
_EXPIRED = "These results are no longer on the server: run the job again."


def exact_path(folder: Path, is_image: bool) -> Path:
    """Where a job keeps the original above the reconstruction."""
    return folder / f"{_STEM}{'.png' if is_image else '.mkv'}"


def keeps_exact_frames(num_frames: int | None, height: int, width: int) -> bool:
    """Whether a clip's frames can be kept: it is short enough, not of unknown length, and wider than FFV1's minimum."""
    return num_frames is not None and width > 1 and 2 * num_frames * height * width * 3 <= _MAX_BYTES


def read_pair(folder: Path, frame: int) -> tuple[Tensor, Tensor]:
    """One frame of the original and of the reconstruction, uint8 (3, H, W).

    Raises:
        MediaError: there is no such frame, or the file is gone.
    """
    with open_stream(_file_in(folder), max_frames=1, start_frame=frame) as stream:
        original, output = next(stream).chunk(2, dim=1)
    return original, output


def read_slices(folder: Path, row: int) -> tuple[Tensor, Tensor]:
    """One row of the first frames, at most MAX_SLICE_FRAMES, of both clips: uint8 (3, T, W).

    Raises:
        ShapeError: there is no such row.
        MediaError: the file is gone.
    """
    with open_stream(_file_in(folder), max_frames=MAX_SLICE_FRAMES) as stream:
        rows = [[half[:, row : row + 1] for half in frame.chunk(2, dim=1)] for frame in stream]
    original, output = (torch.stack(clip) for clip in zip(*rows, strict=True))
    return xt_slice(original, 0), xt_slice(output, 0)


def server_functions(folders: JobFolders) -> list[Callable[[dict], dict]]:
    """What the player's script may ask for; a job is named by its folder, which nobody can guess."""

    def frame_pair(request: dict[str, Any]) -> dict[str, str]:
        """{job, frame} to {original, output}, PNG data addresses; {error} where there is none."""
        return _pictures(folders, request, "frame", read_pair)

    def row_slices(request: dict[str, Any]) -> dict[str, str]:
        """{job, row} to {original, output}, PNG data addresses; {error} where there is none."""
        return _pictures(folders, request, "row", read_slices)

    return [frame_pair, row_slices]


def _pictures(folders: JobFolders, request: dict[str, Any], what: str, read: Callable) -> dict[str, str]:
    folder = folders.find(str(request.get("job")))
    index = request.get(what)
    if folder is None or not isinstance(index, int):
        return {"error": _EXPIRED}
    try:
        original, output = read(folder, index)
    except WorkbenchError:  # removed in the meantime; frames beyond the end are not asked for
        return {"error": _EXPIRED}
    return {"original": _png(original), "output": _png(output)}


def _png(frame_CHW: Tensor) -> str:
    buffer = io.BytesIO()
    picture(frame_CHW).save(buffer, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _file_in(folder: Path) -> Path:
    return next(iter(folder.glob(f"{_STEM}.*")), exact_path(folder, is_image=False))
