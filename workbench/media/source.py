"""A clip as a policy takes it: counted, and its frames in chunks at the size asked for."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.info import MediaInfo, frame_interval
from workbench.media.policy import ClipPolicy
from workbench.media.reader import probe
from workbench.media.resize import apply_resize
from workbench.media.resolution import Resize, plan_resize
from workbench.media.stream import open_stream
from workbench.steps import Progress, Steps, drain

CHUNK_FRAMES = 8
COUNTED_AT_ONCE = 100


@dataclass(frozen=True)
class ClipSource:
    """A clip as a policy takes it: its exact number of frames and size, before any of them is held.

    `timestamps_s` is the presentation time of each frame where the rate varies; otherwise None, and `fps` tells all.
    """

    info: MediaInfo
    num_frames: int
    height: int
    width: int
    fps: float
    interval: int
    resize: Resize | None
    timestamps_s: tuple[float, ...] | None
    warnings: tuple[str, ...]

    def chunks(self) -> Iterator[Tensor]:
        """The frames in order, as uint8 (n, 3, H, W) of a few frames each.

        Raises:
            MediaError: fewer frames come than were counted: the file is changing.
        """
        read = 0
        with open_stream(self.info.path, max_frames=self.num_frames, frame_interval=self.interval) as stream:
            while held := list(islice(stream, CHUNK_FRAMES)):
                read += len(held)
                chunk = torch.stack(held)
                yield apply_resize(chunk, self.resize) if self.resize else chunk
        if read != self.num_frames:
            raise MediaError(f"{quoted(self.info.path)}: {self.num_frames} frames were counted but {read} read")

    def read(self) -> Tensor:
        """All frames at once, uint8 (T, 3, H, W)."""
        with closing(self.chunks()) as chunks:
            return torch.cat(list(chunks))


def open_clip(path: str | Path, policy: ClipPolicy, spatial_multiple: int = 1) -> ClipSource:
    """Look a file over and count its frames by decoding it once (what files claim cannot be trusted).

    Args:
        spatial_multiple: the sides of area resolutions such as 256px are rounded to multiples of this.

    Raises:
        MediaError: the file cannot be read, or has fewer frames than `policy.num_frames`.
    """
    return drain(open_clip_steps(path, policy, spatial_multiple))


def open_clip_steps(path: str | Path, policy: ClipPolicy, spatial_multiple: int = 1) -> Steps[ClipSource]:
    """`open_clip` as steps: long files take a while to count."""
    info = probe(path)
    interval = 1 if policy.fps_max is None or info.is_image else frame_interval(info.fps, policy.fps_max)
    limit = policy.limit
    with open_stream(path, max_frames=limit, frame_interval=interval) as stream:
        num_frames = 0
        while counted := stream.count_rest(COUNTED_AT_ONCE):
            num_frames += counted
            yield Progress("count", num_frames, max(num_frames, limit or (info.estimated_frames or 0) // interval))
        times, warnings = stream.uneven_timestamps, stream.warnings
    if policy.num_frames is not None and num_frames < policy.num_frames:
        asked = f"`num_frames` asks for {policy.num_frames}; use `max_frames` for at most that many"
        raise MediaError(f"{quoted(path)}: has {num_frames} frames, {asked}")
    resize = plan_resize(policy.resolution, info.height, info.width, spatial_multiple) if policy.resolution else None
    height, width = (resize.crop_height, resize.crop_width) if resize else (info.height, info.width)
    fps = info.fps / interval
    return ClipSource(info, num_frames, height, width, fps, interval, resize, times, warnings)
