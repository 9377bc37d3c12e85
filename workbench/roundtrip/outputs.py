"""The files of one reconstruction, written frame by frame while it comes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.compare.side_by_side import DIFFERENCE_GAIN, side_by_side
from workbench.errors import MediaError
from workbench.files import quoted, write_errors
from workbench.media.image import write_image
from workbench.media.source import ClipSource
from workbench.media.writer import VideoWriter

_VIDEO_EXTENSIONS = (".mp4", ".mov", ".mkv")
_PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Outputs:
    """Where `reconstruct_file` writes; paths left out are not written. The extension chooses the format:
    .mp4 plays in browsers, .mkv is lossless, .png is for photos.

    `worst_frame` is a picture of the frame of the lowest PSNR: original, reconstruction and amplified difference.
    `pairs` is a NumPy array (.npy), uint8 (T, 2, 3, H, W), in which the exact values of any frame of the original and
    of the reconstruction can be looked up without decoding.
    """

    reconstruction: Path | None = None
    original: Path | None = None
    side_by_side: Path | None = None
    worst_frame: Path | None = None
    pairs: Path | None = None

    def check(self, clip: ClipSource) -> None:
        """Refuse, before any work, files that would replace the source or each other, or cannot hold the clip.

        Raises:
            MediaError: the first such file.
        """
        paths = [path for path in vars(self).values() if path is not None]
        resolved = [path.resolve() for path in (clip.info.path, *paths)]
        for path in paths:
            extension = path.suffix.lower()
            if resolved.count(path.resolve()) > 1:
                raise MediaError(f"{quoted(path)}: is also the source or another output; name another file")
            if path == self.pairs:
                if extension != ".npy":
                    raise MediaError(f"{quoted(path)}: exact frames are written as .npy")
            elif path == self.worst_frame or clip.info.is_image:
                if extension not in _PICTURE_EXTENSIONS:
                    what = "source is a photo" if clip.info.is_image else "worst frame is a picture"
                    raise MediaError(f"{quoted(path)}: the {what}; write .png or .jpg")
            elif extension not in _VIDEO_EXTENSIONS:
                raise MediaError(f"{quoted(path)}: the source is a video; write .mp4, or .mkv for a lossless file")


class OutputWriter:
    """Writes the files asked for piece by piece; `stack` completes or removes them.

    Attributes:
        warnings: what the files are not, one line each; complete after `finish`.
    """

    def __init__(self, stack: ExitStack, outputs: Outputs, clip: ClipSource) -> None:
        self._clip = clip
        self._stack = stack
        contents = (
            (outputs.original, lambda original, output: original),
            (outputs.reconstruction, lambda original, output: output),
            (outputs.side_by_side, _beside),
            (outputs.pairs, lambda original, output: torch.stack((original, output), dim=1)),
        )
        self._files = [(self._open(path, outputs), content) for path, content in contents if path is not None]
        self._pool = stack.enter_context(ThreadPoolExecutor(len(self._files) or 1))  # ends before the files do
        self._pending: list[Future] = []
        self._written = 0
        self._worst: tuple[float, Tensor, Tensor] | None = None
        self.warnings: tuple[str, ...] = ()

    def write(self, original: Tensor, output: Tensor, psnr: list[float]) -> None:
        """Append frames, uint8 (n, 3, H, W), of the original and of its reconstruction, and note the worst of them.

        They are encoded while the caller goes on, as encoders leave Python alone; an error is raised by the next call.
        """
        self.finish()
        times = self._clip.timestamps_s and self._clip.timestamps_s[self._written : self._written + len(original)]
        self._written += len(original)
        self._pending = [
            self._pool.submit(_write, file, content, original, output, times) for file, content in self._files
        ]
        worst = min(range(len(psnr)), key=psnr.__getitem__)
        if self._worst is None or psnr[worst] < self._worst[0]:
            self._worst = psnr[worst], original[worst : worst + 1].clone(), output[worst : worst + 1].clone()

    def finish(self) -> None:
        """Wait until all frames are encoded.

        Raises:
            FileError: one of the files cannot be written.
        """
        for future in self._pending:
            future.result()
        for file, _ in self._files:
            if isinstance(file, VideoWriter):
                self.warnings += tuple(warning for warning in file.warnings if warning not in self.warnings)

    def write_worst_frame(self, path: Path) -> None:
        """Write the picture of the worst frame so far; there is one once a frame was written."""
        assert self._worst is not None
        _, original, output = self._worst
        panels = {"original": original, "reconstruction": output}
        write_image(side_by_side(panels, DIFFERENCE_GAIN)[0], path)

    def _open(self, path: Path, outputs: Outputs) -> "VideoWriter | ArrayWriter | Path":
        if path == outputs.pairs:
            shape = self._clip.num_frames, 2, 3, self._clip.height, self._clip.width
            return self._stack.enter_context(ArrayWriter(path, shape))
        if self._clip.info.is_image:
            return path
        lossless = path.suffix.lower() == ".mkv"
        return self._stack.enter_context(VideoWriter(path, self._clip.fps, lossless, self._clip.last_duration_s))


class ArrayWriter:
    """Writes a uint8 array (.npy) along its first dimension, piece by piece; a context manager. On an error it is
    removed. It is not synced to disk: what it holds is looked up soon or never.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._shape = path, shape

    def __enter__(self) -> "ArrayWriter":
        with write_errors(self._path):
            self._file = self._path.open("wb")
        header = {"descr": "|u1", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        whole = False
        try:
            with write_errors(self._path):
                self._file.close()
            whole = kind is None
        finally:
            if not whole:
                self._path.unlink(missing_ok=True)

    def write(self, pieces: Tensor) -> None:
        """Append uint8 (n, *shape[1:]).

        Raises:
            FileError: the disk refuses.
        """
        with write_errors(self._path):
            self._file.write(pieces.cpu().contiguous().numpy().data.cast("B"))


def _write(
    file: VideoWriter | ArrayWriter | Path,
    content: Callable[[Tensor, Tensor], Tensor],
    original: Tensor,
    output: Tensor,
    times: Sequence[float] | None,
) -> None:
    frames = content(original, output)
    if isinstance(file, VideoWriter):
        file.write(frames, times)
    elif isinstance(file, ArrayWriter):
        file.write(frames)
    else:
        write_image(frames[0], file)


def _beside(original: Tensor, output: Tensor) -> Tensor:
    return side_by_side({"original": original, "reconstruction": output})
