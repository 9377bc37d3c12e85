"""Frames from the middle of a stream without decoding all that comes before them."""

import itertools
from collections.abc import Iterator
from fractions import Fraction

import av
from av.video.frame import VideoFrame

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.counting import begins_whole, shown_times
from workbench.media.decode import TIMED_KINDS, Decoder
from workbench.media.files import IMAGE_KINDS
from workbench.media.rates import frame_rate


def frames_from(decoder: Decoder, start: int) -> Iterator[VideoFrame]:
    """The frames of a fresh decoder from index `start` on, as if all had been decoded and counted.

    MP4, MOV, MKV and WebM continue from the key frame before it where packets are proven to tell the frames (see
    `media.counting`); all else is decoded from its start. Damage on the disk ahead of `start`, which takes frames
    away from the count, is not seen where it is passed over. What stands behind a photo is not a frame of it.

    Raises:
        MediaError: there are not so many frames, or none at all.
    """
    if start and decoder.kind in TIMED_KINDS:
        frames = _after_seek(decoder, start)
        if frames is not None:
            return frames
        decoder.reopen()
    frames = itertools.islice(decoder.frames(), 1 if decoder.kind in IMAGE_KINDS else None)
    skipped = sum(1 for _ in itertools.islice(frames, start))
    first = next(frames, None)
    if first is None and skipped:
        raise MediaError(f"{quoted(decoder.path)}: start frame {start} is past its end, it has {skipped} frames")
    if first is None:
        raise MediaError(f"{quoted(decoder.path)}: no frame of it could be decoded, {decoder.likely_fault()}")
    return itertools.chain([first], frames)


def _after_seek(decoder: Decoder, start: int) -> Iterator[VideoFrame] | None:
    """The frames from `start` on, or None if the container does not lead there."""
    try:
        span = _timestamps_of(decoder, start)
        if span is None:
            return None
        decoder.container.seek(span[0], stream=decoder.stream)
    except (av.FFmpegError, OSError):
        return None
    frames = decoder.frames()
    for frame in frames:
        if frame.pts is None or frame.pts > span[1]:
            return None  # behind the frame: an open group of pictures, or an index that is wrong
        if frame.pts >= span[0]:
            decoder.forget_faults()  # of frames that were only passed
            return itertools.chain([frame], frames)
    return None


def _timestamps_of(decoder: Decoder, index: int) -> tuple[int, int] | None:
    """The earliest and latest timestamp, in `time_base`, that the frame can have; None if unknown."""
    stream, rate = decoder.stream, frame_rate(decoder)
    if rate and stream.start_time is not None:
        step = 1 / rate / decoder.time_base
        if _has_even_table(decoder, step) and begins_whole(decoder):
            middle = stream.start_time + index * step
            return (round(middle - step / 2), round(middle + step / 2)) if index < stream.frames else None
        decoder.reopen()
    # Otherwise list the packets, which costs reading the file but no decoding.
    times = shown_times(decoder, at_least=index + 1)
    return None if times is None or index >= len(times) else (times[index][0],) * 2


def _has_even_table(decoder: Decoder, step: Fraction) -> bool:
    """Whether the sample table of an MP4 says that all frames are `step` apart. Other headers only claim a rate."""
    if decoder.kind != "mov" or not decoder.stream.frames:
        return False
    entries = list(decoder.stream.index_entries)
    if any(entry.is_discard for entry in entries):
        return False
    times = [entry.timestamp for entry in entries]
    tolerance = float(step) / 4
    even = all(abs(time - times[0] - position * float(step)) < tolerance for position, time in enumerate(times))
    return even and len(times) == decoder.stream.frames
