"""Whole clips into memory, within a budget, and questions about files."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.counting import proven_count
from workbench.media.decode import TIMED_KINDS, Decoder
from workbench.media.files import identify
from workbench.media.info import MediaInfo
from workbench.media.stream import FrameStream, open_stream
from workbench.media.video import Video

DEFAULT_MAX_BYTES = 2 * 1024**3
"""Memory that `read_video` may take for the frames of one clip: about 340 frames of 1920x1080."""


def probe(path: str | Path) -> MediaInfo:
    """What a video or image file claims to hold. Its first frame is decoded, to be sure that it can be.

    Raises:
        MediaError: it cannot be read, with the reason.
    """
    with open_stream(path) as stream:
        return stream.info


def count_frames(path: str | Path) -> int:
    """The number of frames that can be decoded, by decoding them all: headers may be wrong.

    Raises:
        MediaError: the file cannot be read, with the reason.
    """
    with open_stream(path) as stream:
        return stream.count_rest()


def scan_frames(path: str | Path) -> int | None:
    """The number of frames that decode, told from the file's packets; None where only `count_frames` can tell.

    Raises:
        MediaError: the file cannot be read, with the reason.
    """
    path = Path(path)
    kind = identify(path)
    if kind not in TIMED_KINDS:
        return None
    with closing(Decoder(path, kind)) as decoder:
        return proven_count(decoder)


def read_video(
    path: str | Path,
    max_frames: int | None = None,
    start_frame: int = 0,
    frame_interval: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Video:
    """Read a video, or an image as one frame, into memory.

    Args:
        max_frames, start_frame, frame_interval: which frames, as for `open_stream`; fps is divided by the interval.
        max_bytes: memory that the frames may take, 3 bytes a pixel.

    Raises:
        MediaError: the file cannot be read, with the reason, ends before `start_frame`, or needs more than `max_bytes`
            (told from its header before decoding, and watched while reading).
        ConfigError: a number is out of range.
    """
    with open_stream(path, max_frames, start_frame, frame_interval) as stream:
        affordable = max_bytes // (3 * stream.info.height * stream.info.width)
        expected = _expected_frames(stream.info.estimated_frames, max_frames, start_frame, frame_interval)
        if expected > affordable and (counted := scan_frames(path)) is not None:
            expected = _expected_frames(counted, max_frames, start_frame, frame_interval)
        if max(expected, 1) > affordable:
            raise _over_budget(stream.info, expected, affordable, max_bytes)
        frames = _collect(stream, expected, affordable, max_bytes)
        times = _valid_times(stream.timestamps)
        last_s = stream.last_duration_s if times else None
        return Video(frames, stream.fps, times, Path(path), stream.warnings, last_s)


def _expected_frames(claimed: int | None, max_frames: int | None, start_frame: int, frame_interval: int) -> int:
    """How many frames will be read of so many that are claimed; 0 if neither the file nor the caller says."""
    if claimed is None:
        return max_frames or 0
    rest = -(-max(claimed - start_frame, 1) // frame_interval)
    return rest if max_frames is None else min(rest, max_frames)


def _valid_times(times: list[float | None]) -> tuple[float, ...] | None:
    """The timestamps if every frame has one and they increase, else None."""
    known = tuple(time for time in times if time is not None)
    if len(known) < len(times) or any(later <= earlier for earlier, later in pairwise(known)):
        return None
    return known


def _collect(stream: FrameStream, expected: int, affordable: int, max_bytes: int) -> Tensor:
    """All frames of a stream as one (T, 3, H, W) tensor, without holding them twice if as many come as expected."""
    info = stream.info
    frames = torch.empty((expected or 1, 3, info.height, info.width), dtype=torch.uint8)
    count = 0
    for frame in stream:
        if count >= affordable:
            raise _over_budget(info, count + 1, affordable, max_bytes)
        if count == len(frames):
            frames = torch.cat((frames, torch.empty_like(frames)))
        frames[count] = frame
        count += 1
    return frames if count == len(frames) else frames[:count].clone()


def _over_budget(info: MediaInfo, frames: int, affordable: int, max_bytes: int) -> MediaError:
    size = f"{frames} frames of {info.width}x{info.height}"
    remedy = f"read at most {affordable} frames (max_frames)" if affordable else "scale it down"
    return MediaError(
        f"{quoted(info.path)}: {size} are over the memory limit of {max_bytes / 1024**3:.3g} GiB; "
        f"{remedy}, or process it file to file"
    )
