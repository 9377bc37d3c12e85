"""A clip in memory, and the two conversions between stored frames and what models take."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.errors import NonFiniteError, ShapeError
from workbench.finite import is_finite


@dataclass(frozen=True)
class Video:
    """A clip in memory.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB.
        fps: frames per second, the average if the rate varies.
        timestamps_s: presentation time of each frame in seconds, or None where the file has none.
        path: the file that it came from, if any.
        warnings: what a viewer should know about how it was read, one line each.
        last_duration_s: how long the last frame is shown, where the file says so.
    """

    frames: Tensor
    fps: float
    timestamps_s: tuple[float, ...] | None = None
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    last_duration_s: float | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.frames.shape)
        if self.frames.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise ShapeError(f"frames of a video must be a uint8 (T, 3, H, W) tensor, got {self.frames.dtype} {shape}")
        if not 0 < self.fps < float("inf"):
            raise ShapeError(f"frames per second of a video must be positive, got {self.fps}")
        if self.timestamps_s is not None and len(self.timestamps_s) != shape[0]:
            raise ShapeError(f"{shape[0]} frames need as many timestamps, got {len(self.timestamps_s)}")

    @property
    def num_frames(self) -> int:
        return self.frames.shape[0]

    @property
    def height(self) -> int:
        return self.frames.shape[2]

    @property
    def width(self) -> int:
        return self.frames.shape[3]

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        if self.timestamps_s is None:
            return self.num_frames / self.fps
        return self.timestamps_s[-1] - self.timestamps_s[0] + (self.last_duration_s or 1 / self.fps)

    def to_tensor(self) -> Tensor:
        """The frames as models take them: float32 (1, 3, T, H, W) in [-1, 1]."""
        return to_float(self.frames.transpose(0, 1).unsqueeze(0))

    @classmethod
    def from_tensor(
        cls,
        x_BCTHW: Tensor,
        fps: float,
        timestamps_s: tuple[float, ...] | None = None,
        last_duration_s: float | None = None,
    ) -> "Video":
        """A clip from one float (1, 3, T, H, W) tensor, nominally in [-1, 1]: clamped and rounded to 8 bits.

        Raises:
            ShapeError: x is not one clip.
            NonFiniteError: a value is NaN or infinite.
        """
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[0] != 1:
            raise ShapeError(f"one clip is a (1, 3, T, H, W) tensor, got {tuple(x_BCTHW.shape)}")
        if not is_finite(x_BCTHW.detach()):
            raise NonFiniteError("frames that are not finite (NaN or Inf) are no video")
        frames = to_uint8(x_BCTHW.detach()[0]).transpose(0, 1).contiguous().cpu()
        return cls(frames, fps, timestamps_s, last_duration_s=last_duration_s)


def to_float(frames: Tensor) -> Tensor:
    """8-bit values 0..255 to float32 in [-1, 1], in a new contiguous tensor of any shape; `to_uint8` takes them back
    exactly, also from half precision."""
    return frames.to(torch.float32, memory_format=torch.contiguous_format, copy=True).div_(127.5).sub_(1.0)


def to_uint8(x: Tensor) -> Tensor:
    """Values nominally in [-1, 1], of any shape and floating-point type, clamped and rounded to 0..255."""
    return x.float().add(1.0).clamp_(0.0, 2.0).mul_(127.5).round_().to(torch.uint8)
