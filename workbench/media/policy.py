"""Which frames of a file are taken, and at what size: one policy for reconstruction, evaluation and encoding."""

from dataclasses import dataclass, fields
from typing import Any

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.media.resolution import parse_resolution

MAX_FRAMES = 10_000_000
"""Most frames that may be asked for: two days at 60 a second. More is a slip of the hand."""

SIDE_MULTIPLE = 32
"""Area resolutions such as 256px are rounded to sides of this multiple for every model, so that all get one size."""


@dataclass(frozen=True)
class ClipPolicy:
    """Which frames to take of a clip, and their size."""

    resolution: str | None = setting(
        None, "frame size: 256 (short side), 256px (area), 256px_ar1:1 (cropped) or 720p; by default as it is"
    )
    max_frames: int | None = setting(None, "take at most this many frames")
    num_frames: int | None = setting(None, "take exactly this many frames; shorter clips are refused")
    fps_max: float | None = setting(None, "take every n-th frame, so that the frame rate is at most this")

    def __post_init__(self) -> None:
        for name in ("max_frames", "num_frames"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1, MAX_FRAMES)
        if self.fps_max is not None:
            check_range("fps_max", self.fps_max, 0.001)
        if self.resolution is not None:
            parse_resolution(self.resolution)
        if self.num_frames is not None and self.max_frames is not None and self.max_frames < self.num_frames:
            exactly = f"`num_frames` asks for exactly {self.num_frames}; give `num_frames` None for at most that many"
            raise ConfigError(f"`max_frames` {self.max_frames}: {exactly}")

    def record(self) -> dict[str, Any]:
        """What decides which frames a model gets, as plain values: results of two policies never mix."""
        return {field.name: getattr(self, field.name) for field in fields(ClipPolicy)}

    @property
    def limit(self) -> int | None:
        """The most frames that are taken; None for all."""
        return min((n for n in (self.max_frames, self.num_frames) if n is not None), default=None)

    def taken_of(self, frames: int | None) -> int | None:
        """How many frames are taken of a clip that has this many (None: unknown); None where that is unknown too."""
        return min((n for n in (frames, self.limit) if n is not None), default=None)
