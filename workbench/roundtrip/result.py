"""What is known of one model on one clip, however the round trip was made."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from workbench.media.video import Video
from workbench.metrics.measure import summarise
from workbench.models.auto import Ran


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """The figures of a round trip.

    Attributes:
        num_frames, height, width, fps: of the clip as it was taken.
        timestamps_s: presentation time of each frame where the rate varies; otherwise None, and `fps` tells all.
        latent_shape: (C, t, h, w) of the whole clip, with all latents that padding to legal sizes adds.
        encode_model_s, decode_model_s: seconds inside the model; on rank 0 where several share the work.
        encode_total_s, decode_total_s: the same with cutting, blending and moving frames to the device and back.
        ran: how the model was run over the clip: tiling mode and work.
        metrics: one value a frame by name (see `workbench.metrics`), on the 8-bit frames.
        warnings: what a viewer should know, one line each.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    timestamps_s: tuple[float, ...] | None
    latent_shape: tuple[int, int, int, int]
    encode_model_s: float
    encode_total_s: float
    decode_model_s: float
    decode_total_s: float
    ran: Ran
    metrics: dict[str, list[float]]
    warnings: tuple[str, ...]

    @property
    def volume(self) -> int:
        """Pixels of all frames together."""
        return self.num_frames * self.height * self.width

    @property
    def values_per_pixel(self) -> float:
        """Latent values for each pixel of the clip as it was before padding."""
        return math.prod(self.latent_shape) / self.volume

    @property
    def worst_frame(self) -> int:
        """The frame of the lowest PSNR, which every frame has."""
        return summarise({"psnr": self.metrics["psnr"]})["psnr"].worst_frame

    def time_of(self, frame: int) -> float:
        """Presentation time of a frame, in seconds."""
        return self.timestamps_s[frame] if self.timestamps_s else frame / self.fps


@dataclass(frozen=True, kw_only=True)
class FileReport(RoundTrip):
    """What `reconstruct_file` did with a file."""

    source: Path
    model: str


@dataclass(frozen=True, kw_only=True)
class Reconstruction(RoundTrip):
    """A clip in memory and what an autoencoder made of it.

    Attributes:
        original, output: the clip before and after, 8 bits per value, of the same size.
        latents: float32 (1, C, t, h, w) on the CPU.
    """

    original: Video
    output: Video
    latents: Tensor
