"""What a file says about itself, and the arithmetic of frame rates."""

import math
from dataclasses import dataclass
from pathlib import Path

from workbench.config import check_range
from workbench.errors import MediaError
from workbench.files import quoted

MAX_PIXELS = 2**26
"""Largest width x height of a frame (8192 x 8192), so that a small file cannot ask for unbounded memory."""

DEFAULT_FPS = 24.0
"""Taken, with a warning, where a file states no frame rate; also the nominal rate of a still image."""

CUT_SHORT = "the file is cut short: its end is missing"
NO_RATE = f"no frame rate is stated: {DEFAULT_FPS:g} fps is assumed"


@dataclass(frozen=True)
class MediaInfo:
    """What a file claims to hold. Only decoding tells the truth: see `count_frames`.

    Attributes:
        path: the file.
        is_image: whether it is a still image: one frame without a time.
        num_frames: frames that the header claims, None if it does not say.
        height, width: of the frames as they are read, after rotation.
        fps: frames per second, the average if the rate varies, DEFAULT_FPS if unknown.
        duration_s: seconds that the header claims, None if it does not say.
        codec, pixel_format: FFmpeg's names.
        warnings: what a viewer should know, one line each.
    """

    path: Path
    is_image: bool
    num_frames: int | None
    height: int
    width: int
    fps: float
    duration_s: float | None
    codec: str
    pixel_format: str
    warnings: tuple[str, ...] = ()

    @property
    def estimated_frames(self) -> int | None:
        """The claimed number of frames, or what the claimed duration amounts to; None if neither is stated."""
        if self.num_frames is not None or self.duration_s is None:
            return self.num_frames
        return max(1, round(self.duration_s * self.fps))


def check_pixels(path: Path, width: int, height: int) -> None:
    """Raise MediaError if frames of this size are over the limit."""
    if width * height > MAX_PIXELS:
        raise MediaError(f"{quoted(path)}: frames of {width}x{height} are over the limit of {MAX_PIXELS:,} pixels")


def is_regular_step(step_s: float, fps: float) -> bool:
    """Whether two neighbouring frames of these timestamps fit a constant rate; containers round to as much as 10 ms."""
    return abs(step_s - 1 / fps) <= 0.25 / fps + 0.005


def is_long_step(step_s: float, fps: float) -> bool:
    """Whether a frame is shown clearly longer than a constant rate says."""
    return step_s > 1 / fps and not is_regular_step(step_s, fps)


def frame_interval(fps: float, fps_max: float) -> int:
    """Take every how-manieth frame so that at most `fps_max` remain per second: ceil(fps / fps_max).

    Nominal rates are forgiven 0.1%: 30 fps against a limit of 29.97 is every frame, not every second one.

    Raises:
        ConfigError: a rate is not positive.
    """
    check_range("fps", fps, 1e-6, 1e6)
    check_range("fps_max", fps_max, 1e-6)
    return max(1, math.ceil(fps / fps_max / 1.00101))
