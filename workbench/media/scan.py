"""The frames that a policy takes of a clip, counted: from its packets, or by decoding them."""

from contextlib import closing
from dataclasses import dataclass

from workbench.media.counting import shown_times
from workbench.media.decode import TIMED_KINDS, Decoder
from workbench.media.files import identify
from workbench.media.info import MediaInfo
from workbench.media.pace import Pace
from workbench.media.stream import open_stream
from workbench.steps import Progress, Steps

COUNTED_AT_ONCE = 100


@dataclass(frozen=True)
class Count:
    """Every `interval`-th frame of a clip, at most a limit: how many, their times where they tell more than the rate,
    how long the last is shown where the file says so, and what a viewer should know."""

    num_frames: int
    timestamps_s: tuple[float, ...] | None
    last_duration_s: float | None
    warnings: tuple[str, ...]
    is_scanned: bool = False


def scan_packets(info: MediaInfo, interval: int, limit: int | None) -> Count | None:
    """What decoding will give, told from the packets; None where it is not proven that they do.

    Raises:
        MediaError: the file cannot be read.
    """
    kind = identify(info.path)
    if kind not in TIMED_KINDS:
        return None
    seen = None if limit is None else (limit - 1) * interval + 1
    with closing(Decoder(info.path, kind)) as decoder:
        shown, time_base = shown_times(decoder, seen), decoder.time_base
    if shown is None:
        return None
    pace, times = Pace(info.fps), []
    for number, (time, duration) in enumerate(shown[:seen]):
        time_s = float(time * time_base)
        pace.add(time_s, float(duration * time_base))
        if number % interval == 0:
            times.append(time_s)
    last_s, warning = pace.last_duration_s(times[-1], interval), pace.warning()
    warnings = info.warnings + ((warning,) if warning else ())
    return Count(len(times), pace.uneven(times, last_s, interval), last_s, warnings, is_scanned=True)


def count_decoded(info: MediaInfo, interval: int, limit: int | None) -> Steps[Count]:
    """The same by decoding, as steps: what headers and packets say may be wrong.

    Raises:
        MediaError: the file cannot be read.
    """
    with open_stream(info.path, max_frames=limit, frame_interval=interval) as stream:
        num_frames = 0
        while counted := stream.count_rest(COUNTED_AT_ONCE):
            num_frames += counted
            yield Progress("count", num_frames, max(num_frames, limit or (info.estimated_frames or 0) // interval))
        return Count(num_frames, stream.uneven_timestamps, stream.last_duration_s, stream.warnings)
