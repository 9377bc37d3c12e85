"""A clip as a policy takes it: counted, and its frames in chunks at the size asked for."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.info import MediaInfo, frame_interval
from workbench.media.policy import ClipPolicy
from workbench.media.reader import probe
from workbench.media.resize import apply_resize
from workbench.media.resolution import Resize, plan_resize
from workbench.media.scan import count_decoded, scan_packets
from workbench.media.stream import open_stream
from workbench.steps import Steps, drain

CHUNK_FRAMES = 8

T = TypeVar("T")


class ScanError(MediaError):
    """What a file's packets told of its frames is not what decoding gave."""


@dataclass(frozen=True)
class ClipSource:
    """A clip as a policy takes it: its exact number of frames and size, before any of them is held.

    Attributes:
        timestamps_s: presentation time of each frame where the rate varies; otherwise None, and `fps` tells all.
        last_duration_s: how long the last frame is shown, where the file says so.
        max_frames: what the policy limits the frames to, None for all that there are.
        is_scanned: whether packets told the frames, which reading then has to confirm.
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
    last_duration_s: float | None = None
    max_frames: int | None = None
    is_scanned: bool = False

    def chunks(self) -> Generator[Tensor, None, None]:
        """The frames in order, as uint8 (n, 3, H, W) of a few frames each.

        Raises:
            MediaError: other frames come than were counted: the file is changing.
            ScanError: the same of a scanned clip, whose packets may be damaged: count it by decoding.
        """
        read = 0
        with open_stream(self.info.path, max_frames=self.max_frames, frame_interval=self.interval) as stream:
            while held := list(islice(stream, min(CHUNK_FRAMES, self.num_frames + 1 - read))):
                read += len(held)
                if read > self.num_frames:
                    break
                chunk = torch.stack(held)
                yield apply_resize(chunk, self.resize) if self.resize else chunk
            is_as_scanned = stream.warnings == self.warnings and stream.uneven_timestamps == self.timestamps_s
        if read != self.num_frames or (self.is_scanned and not is_as_scanned):
            error = ScanError if self.is_scanned else MediaError
            raise error(f"{quoted(self.info.path)}: {self.num_frames} frames were counted but {read} read")

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


def scanned_steps(
    path: str | Path, policy: ClipPolicy, spatial_multiple: int, use: Callable[[ClipSource], Steps[T]]
) -> Steps[T]:
    """What `use` makes of a clip whose frames the packets told, and again of the clip counted by decoding where reading
    it found otherwise, in a file that is damaged in its middle. Errors as of `open_clip`, and those of `use`.
    """
    try:
        clip = yield from open_clip_steps(path, policy, spatial_multiple, may_scan=True)
        return (yield from use(clip))
    except ScanError:
        clip = yield from open_clip_steps(path, policy, spatial_multiple)
        return (yield from use(clip))


def open_clip_steps(
    path: str | Path, policy: ClipPolicy, spatial_multiple: int = 1, may_scan: bool = False
) -> Steps[ClipSource]:
    """`open_clip` as steps: long files take a while to count.

    Args:
        may_scan: count the frames in the packets where that is proven to equal decoding. A packet damaged on the disk
            is then found while reading, as a `ScanError`.
    """
    info = probe(path)
    interval = 1 if policy.fps_max is None or info.is_image else frame_interval(info.fps, policy.fps_max)
    limit = policy.limit
    count = scan_packets(info, interval, limit) if may_scan else None
    if count is None:
        count = yield from count_decoded(info, interval, limit)
    if policy.num_frames is not None and count.num_frames < policy.num_frames:
        asked = f"`num_frames` asks for {policy.num_frames}; use `max_frames` for at most that many"
        raise MediaError(f"{quoted(path)}: has {count.num_frames} frames, {asked}")
    resize = plan_resize(policy.resolution, info.height, info.width, spatial_multiple) if policy.resolution else None
    height, width = (resize.crop_height, resize.crop_width) if resize else (info.height, info.width)
    return ClipSource(
        info,
        height=height,
        width=width,
        fps=info.fps / interval,
        interval=interval,
        resize=resize,
        max_frames=limit,
        **vars(count),
    )
