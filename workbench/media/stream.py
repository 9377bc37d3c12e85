"""Frames of a file one at a time, in constant memory."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from workbench.config import check_range
from workbench.media.files import IMAGE_KINDS, PICTURE_KINDS, identify
from workbench.media.image import read_header
from workbench.media.info import CUT_SHORT, check_pixels
from workbench.media.pace import Pace
from workbench.media.picture_frames import PictureFrames
from workbench.media.structure import has_pictures_without_times
from workbench.media.video_frames import Shown, VideoFrames


def open_stream(
    path: str | Path, max_frames: int | None = None, start_frame: int = 0, frame_interval: int = 1
) -> "FrameStream":
    """Open a video or image to iterate over its frames as uint8 (3, H, W) RGB tensors, in constant memory.

    Args:
        max_frames: stop after so many frames.
        start_frame: index of the first frame, counted before `frame_interval`. MP4, MOV, MKV and WebM seek to the
            key frame before it; other formats decode from the start.
        frame_interval: take every so-manieth frame.

    Raises:
        MediaError: the file cannot be read, with the reason, or it ends before `start_frame`.
        ConfigError: a number is out of range.
    """
    return FrameStream(path, max_frames, start_frame, frame_interval)


class FrameStream:
    """An open file: a context manager, and an iterator over uint8 (3, H, W) RGB tensors. Made by `open_stream`.

    Attributes:
        info: what the file says about itself.
        fps: frames per second of the frames yielded: info.fps / frame_interval.
        timestamps: presentation time in seconds of each frame yielded or counted so far; None where it has none.
    """

    def __init__(self, path: str | Path, max_frames: int | None, start_frame: int, frame_interval: int) -> None:
        check_range("max_frames", 1 if max_frames is None else max_frames, 1)
        check_range("start_frame", start_frame, 0)
        check_range("frame_interval", frame_interval, 1)
        self._source = _open_source(Path(path), start_frame)
        self.info = self._source.info
        self.fps = self.info.fps / frame_interval
        self.timestamps: list[float | None] = []
        self._pace, self._interval = Pace(self.info.fps), frame_interval
        self._decoded = start_frame
        self._kept = itertools.islice(itertools.islice(self._watched(), 0, None, frame_interval), max_frames)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a viewer should know, one line each; grows while reading."""
        found, pace = list(self.info.warnings), self._pace.warning()
        is_whole = CUT_SHORT not in found and not self._source.is_damaged  # else frames are missing for a known reason
        if pace and (is_whole or self._pace.is_disordered):
            found.append(pace)
        return (*found, *self._source.faults(self._decoded))

    @property
    def uneven_timestamps(self) -> tuple[float, ...] | None:
        """Timestamps of the frames yielded or counted so far if their spacing varies; None where fps tells it all."""
        return self._pace.uneven(self.timestamps, self.last_duration_s, self._interval)

    @property
    def last_duration_s(self) -> float | None:
        """How long the last frame yielded or counted so far is shown; None where the file does not say."""
        return self._pace.last_duration_s(self.timestamps[-1] if self.timestamps else None, self._interval)

    def __enter__(self) -> "FrameStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the decoder."""
        self._source.close()

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        frame = next(self._kept)
        self.timestamps.append(frame.time_s)
        return frame.rgb()

    def count_rest(self, at_most: int | None = None) -> int:
        """Decode the remaining frames, or `at_most` so many, without converting them; return how many there were."""
        before = len(self.timestamps)
        self.timestamps.extend(frame.time_s for frame in itertools.islice(self._kept, at_most))
        return len(self.timestamps) - before

    def _watched(self) -> Iterator[Shown]:
        """All frames from the start frame on, counted and checked for an even pace."""
        for frame in self._source:
            self._decoded += 1
            self._pace.add(frame.time_s, frame.duration_s)
            yield frame


def _open_source(path: Path, start_frame: int) -> VideoFrames | PictureFrames:
    """The file opened by what can read it; the header of a picture is checked before it is decoded."""
    kind = identify(path)
    if kind in PICTURE_KINDS or (kind == "gif" and has_pictures_without_times(path)):
        return PictureFrames(path, kind, start_frame)
    if kind not in IMAGE_KINDS:
        return VideoFrames(path, kind, start_frame, None)
    header = read_header(path)
    check_pixels(path, header.width, header.height)
    if header.is_animated:
        return PictureFrames(path, kind, start_frame)
    return VideoFrames(path, kind, start_frame, header)
