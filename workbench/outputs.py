"""The files of one reconstruction, written frame by frame while it comes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.compare.side_by_side import side_by_side
from workbench.data.source import ClipSource
from workbench.errors import MediaError
from workbench.media import VideoWriter, quoted, write_image

DIFFERENCE_GAIN = 4.0
"""How much the difference is amplified in the picture of the worst frame."""

_VIDEO_EXTENSIONS = (".mp4", ".mov", ".mkv")
_PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Outputs:
    """Where `reconstruct_file` writes; paths left out are not written. The extension chooses the format:
    .mp4 plays in browsers, .mkv is lossless, .png is for photos.

    `worst_frame` is a picture of the frame of the lowest PSNR: original, reconstruction and amplified difference.
    `stacked` is the original above the reconstruction, without labels: as .mkv or .png, one file in which the exact
    values of both can be looked up.
    """

    reconstruction: Path | None = None
    original: Path | None = None
    side_by_side: Path | None = None
    worst_frame: Path | None = None
    stacked: Path | None = None

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
            if path == self.worst_frame or clip.info.is_image:
                if extension not in _PICTURE_EXTENSIONS:
                    what = "source is a photo" if clip.info.is_image else "worst frame is a picture"
                    raise MediaError(f"{quoted(path)}: the {what}; write .png or .jpg")
            elif extension not in _VIDEO_EXTENSIONS:
                raise MediaError(f"{quoted(path)}: the source is a video; write .mp4, or .mkv for a lossless file")


class OutputWriter:
    """Writes the files asked for piece by piece; `stack` completes or removes the videos.

    Attributes:
        warnings: what the files are not, one line each.
    """

    def __init__(self, stack: ExitStack, outputs: Outputs, clip: ClipSource) -> None:
        self._clip = clip
        self._stack = stack
        self._files = [
            (self._open(path), content)
            for path, content in (
                (outputs.original, lambda original, output: original),
                (outputs.reconstruction, lambda original, output: output),
                (outputs.side_by_side, _beside),
                (outputs.stacked, lambda original, output: torch.cat((original, output), dim=2)),
            )
            if path is not None
        ]
        self._written = 0
        self._worst: tuple[float, Tensor, Tensor] | None = None
        self.warnings: tuple[str, ...] = ()

    def write(self, original: Tensor, output: Tensor, psnr: list[float]) -> None:
        """Append frames, uint8 (n, 3, H, W), of the original and of its reconstruction, and note the worst of them."""
        times = self._clip.timestamps_s and self._clip.timestamps_s[self._written : self._written + len(original)]
        self._written += len(original)
        with ThreadPoolExecutor(len(self._files) or 1) as pool:  # encoders leave Python alone, and one another
            list(pool.map(lambda item: _write(item[0], item[1](original, output), times), self._files))
        for file, _ in self._files:
            if isinstance(file, VideoWriter):
                self.warnings += tuple(warning for warning in file.warnings if warning not in self.warnings)
        worst = min(range(len(psnr)), key=psnr.__getitem__)
        if self._worst is None or psnr[worst] < self._worst[0]:
            self._worst = psnr[worst], original[worst : worst + 1].clone(), output[worst : worst + 1].clone()

    def write_worst_frame(self, path: Path) -> None:
        """Write the picture of the worst frame so far."""
        _, original, output = self._worst
        panels = {"original": original, "reconstruction": output}
        write_image(side_by_side(panels, DIFFERENCE_GAIN)[0], path)

    def _open(self, path: Path) -> VideoWriter | Path:
        if self._clip.info.is_image:
            return path
        lossless = path.suffix.lower() == ".mkv"
        return self._stack.enter_context(VideoWriter(path, self._clip.fps, lossless))


def _write(file: VideoWriter | Path, frames: Tensor, times: Sequence[float] | None) -> None:
    if isinstance(file, VideoWriter):
        file.write(frames, times)
    else:
        write_image(frames[0], file)


def _beside(original: Tensor, output: Tensor) -> Tensor:
    return side_by_side({"original": original, "reconstruction": output})
