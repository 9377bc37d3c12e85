"""Frames of a file one at a time, in constant memory."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from av.video.frame import VideoFrame
from torch import Tensor

from workbench.config import check_range
from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.convert import FrameConverter, frame_warnings
from workbench.media.counting import listed_frames
from workbench.media.decode import Decoder
from workbench.media.files import IMAGE_KINDS, identify, is_cut_short
from workbench.media.image import read_header
from workbench.media.info import DEFAULT_FPS, MediaInfo, check_pixels
from workbench.media.pace import Pace
from workbench.media.rates import frame_rate
from workbench.media.seek import frames_from

CUT_SHORT = "the file is cut short: its end is missing"


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
        self._path = Path(path)
        self._kind = identify(self._path)
        orientation = _image_orientation(self._path, self._kind) if self._kind in IMAGE_KINDS else None
        self._decoder = Decoder(self._path, self._kind)
        try:
            frames = frames_from(self._decoder, start_frame)
            first = next(frames)
            self._convert = FrameConverter(first, orientation)
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise
        self.fps = self.info.fps / frame_interval
        self.timestamps: list[float | None] = []
        self._pace, self._interval = Pace(self.info.fps), frame_interval
        self._decoded, self._resized_frames = start_frame, 0
        watched = self._watched(itertools.chain([first], frames))
        self._kept = itertools.islice(itertools.islice(watched, 0, None, frame_interval), max_frames)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a viewer should know, one line each; grows while reading."""
        decoder, found = self._decoder, list(self.info.warnings)
        is_whole = CUT_SHORT not in found and not decoder.bad_packets  # else frames are missing for a known reason
        pace = self._pace.warning()
        if pace and (is_whole or self._pace.is_disordered):
            found.append(pace)
        if self._resized_frames:
            size = f"{self.info.width}x{self.info.height}"
            found.append(f"the resolution changes: {self._resized_frames} frames are resized to {size}")
        if decoder.bad_packets:
            found.append(f"damaged data: {decoder.bad_packets} frames could not be decoded and are missing")
        if decoder.corrupt_frames:
            found.append(f"damaged data: {decoder.corrupt_frames} frames are marked as corrupt by the decoder")
        if decoder.read_error:
            found.append(f"reading stopped early ({decoder.read_error}) after {self._decoded} frames")
        elif decoder.reached_end and CUT_SHORT in found and not self.info.is_image:
            claimed = f" of {self.info.num_frames}" if (self.info.num_frames or 0) > self._decoded else ""
            found.append(f"{self._decoded}{claimed} frames could be decoded before its end")
        return tuple(found)

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
        self._decoder.close()

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        frame = next(self._kept)
        self.timestamps.append(self._time_of(frame))
        return self._convert(frame)

    def count_rest(self, at_most: int | None = None) -> int:
        """Decode the remaining frames, or `at_most` so many, without converting them; return how many there were."""
        before = len(self.timestamps)
        self.timestamps.extend(self._time_of(frame) for frame in itertools.islice(self._kept, at_most))
        return len(self.timestamps) - before

    def _watched(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """The same frames, counted and checked for an even pace."""
        for frame in frames:
            self._decoded += 1
            self._resized_frames += self._convert.resizes(frame)
            # The last frames of a stream forget their time base.
            self._pace.add(self._time_of(frame), float(frame.duration * self._decoder.stream.time_base))
            yield frame

    def _time_of(self, frame: VideoFrame) -> float | None:
        if frame.pts is None or self._kind in IMAGE_KINDS:
            return None
        return float(frame.pts * self._decoder.stream.time_base)

    def _describe(self, first: VideoFrame) -> MediaInfo:
        stream, rate, is_image = self._decoder.stream, frame_rate(self._decoder), self._kind in IMAGE_KINDS
        warnings = frame_warnings(first)
        if is_cut_short(self._path, self._kind):
            warnings.append(CUT_SHORT)
        if stream.sample_aspect_ratio not in (None, 0, 1):
            warnings.append(f"pixels are not square ({stream.sample_aspect_ratio}): frames keep their stored size")
        if not rate and not is_image:
            warnings.append(f"no frame rate is stated: {DEFAULT_FPS:g} fps is assumed")
        return MediaInfo(
            path=self._path,
            is_image=is_image,
            num_frames=1 if is_image else listed_frames(self._decoder),
            height=self._convert.height,
            width=self._convert.width,
            fps=float(rate) if rate and not is_image else DEFAULT_FPS,
            duration_s=None if is_image else self._decoder.claimed_duration_s(),
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            warnings=tuple(warnings),
        )


def _image_orientation(path: Path, kind: str) -> int:
    """Check the header of a still image before it is decoded; return its EXIF orientation."""
    header = read_header(path)
    check_pixels(path, header.width, header.height)
    if header.is_animated:
        what = "WebP" if kind == "webp_pipe" else "PNG"
        raise MediaError(f"{quoted(path)}: animated {what} cannot be read; convert it to GIF or MP4")
    return header.orientation
