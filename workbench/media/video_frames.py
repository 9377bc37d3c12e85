"""The frames of what FFmpeg decodes: films, and still pictures but for those of `picture_frames`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

from av.video.frame import VideoFrame
from torch import Tensor

from workbench.media.convert import FrameConverter, display_orientation, frame_warnings
from workbench.media.counting import listed_frames
from workbench.media.decode import Decoder
from workbench.media.files import IMAGE_KINDS
from workbench.media.image import ImageHeader
from workbench.media.info import CUT_SHORT, DEFAULT_FPS, NO_RATE, MediaInfo
from workbench.media.profiles import SrgbConverter
from workbench.media.rates import frame_rate
from workbench.media.seek import frames_from
from workbench.media.structure import is_cut_short


@dataclass(frozen=True)
class Shown:
    """A frame as it was decoded: when it is shown and for how long, in seconds where the file says so, and its pixels
    as uint8 (3, H, W) for whoever wants them."""

    time_s: float | None
    duration_s: float | None
    rgb: Callable[[], Tensor]


class VideoFrames:
    """An open file, from one of its frames on: what it says of itself, its frames in order, and what was wrong."""

    def __init__(self, path: Path, kind: str, start_frame: int, header: ImageHeader | None) -> None:
        """`header` is that of a still picture.

        Raises:
            MediaError: it cannot be read, with the reason, or ends before `start_frame`.
        """
        self._path, self._kind, self._is_image = path, kind, kind in IMAGE_KINDS
        self._srgb = SrgbConverter(header.icc_profile) if header else None
        self._decoder = Decoder(path, kind)
        try:
            frames = frames_from(self._decoder, start_frame)
            first = next(frames)
            codec = self._decoder.stream.codec_context.name
            self._orientation = header.orientation if header else display_orientation(first, codec)
            self._convert = FrameConverter(first, self._orientation)
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise
        # Behind a photo may stand a smaller one, or the film of which it is the best frame.
        self._frames = iter((first,)) if self._is_image else chain([first], frames)
        self._resized = 0
        self._time_base = self._decoder.stream.time_base or Fraction(0)  # which the last frames of a stream forget

    def __iter__(self) -> Iterator[Shown]:
        for frame in self._frames:
            self._resized += self._convert.resizes(frame)
            duration_s = float(frame.duration * self._time_base)
            yield Shown(self._time_of(frame), duration_s, partial(self._rgb, frame))

    def close(self) -> None:
        """Release the file and the decoder."""
        self._decoder.close()

    @property
    def is_damaged(self) -> bool:
        """Whether frames are missing that could not be decoded."""
        return bool(self._decoder.bad_packets)

    def faults(self, decoded: int) -> list[str]:
        """What went wrong until now, one line each, with so many frames decoded from the start of the file."""
        decoder, found = self._decoder, []
        if self._resized:
            size = f"{self.info.width}x{self.info.height}"
            found.append(f"the resolution changes: {self._resized} frames are resized to {size}")
        if decoder.bad_packets:
            found.append(f"damaged data: {decoder.bad_packets} frames could not be decoded and are missing")
        if decoder.corrupt_frames:
            found.append(f"damaged data: {decoder.corrupt_frames} frames are marked as corrupt by the decoder")
        if decoder.read_error:
            found.append(f"reading stopped early ({decoder.read_error}) after {decoded} frames")
        elif decoder.reached_end and CUT_SHORT in self.info.warnings and not self._is_image:
            claimed = f" of {self.info.num_frames}" if (self.info.num_frames or 0) > decoded else ""
            found.append(f"{decoded}{claimed} frames could be decoded before its end")
        return found

    def _rgb(self, frame: VideoFrame) -> Tensor:
        rgb = self._convert(frame)
        return self._srgb(rgb) if self._srgb else rgb

    def _time_of(self, frame: VideoFrame) -> float | None:
        if frame.pts is None or self._is_image:
            return None
        return float(frame.pts * self._time_base)

    def _describe(self, first: VideoFrame) -> MediaInfo:
        stream, rate, is_image = self._decoder.stream, frame_rate(self._decoder), self._is_image
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
            warnings=tuple(self._warnings(first, bool(rate) or is_image)),
        )

    def _warnings(self, first: VideoFrame, has_rate: bool) -> Iterator[str]:
        stream, passed_over = self._decoder.stream, self._decoder.passed_over
        if passed_over:
            others = (
                "another video stream is" if len(passed_over) == 1 else f"{len(passed_over)} other video streams are"
            )
            yield f"{others} passed over: {', '.join(passed_over)}"
        srgb = self._srgb and self._srgb.warning
        yield from frame_warnings(first, self._orientation, has_profile=srgb is not None)
        if srgb:
            yield srgb
        if is_cut_short(self._path, self._kind):
            yield CUT_SHORT
        if stream.sample_aspect_ratio not in (None, 0, 1):
            yield f"pixels are not square ({stream.sample_aspect_ratio}): frames keep their stored size"
        if not has_rate:
            yield NO_RATE
