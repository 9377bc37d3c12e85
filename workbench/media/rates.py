"""Frames per second, from the header where it is credible and from the timestamps where it is not."""

from fractions import Fraction

import av

from workbench.media.decode import Decoder
from workbench.media.files import states_rate

MAX_FPS = 10_000
"""Rates above this are taken for a damaged header: high-speed cameras film at some thousands."""

_NEAR = 0.15
_ROUNDED_KINDS = ("matroska", "gif", "avi")  # whose times are rounded, or count what B-frames delay


def frame_rate(decoder: Decoder) -> Fraction | None:
    """Frames per second of a fresh or used decoder, the average if the rate varies; None if nothing tells it.

    AVI has a clock but no frames' rate: FFmpeg writes B-frames at twice the rate with every second one left out. What
    the list of its frames spans is the truth there.
    """
    if not states_rate(decoder.path, decoder.kind):
        return None
    stream = decoder.stream
    average = _rate_of_list(decoder) if decoder.kind == "avi" else stream.average_rate
    average, nominal = average or stream.average_rate or _rate_of_packets(decoder), stream.guessed_rate
    if not average or average > MAX_FPS:
        return None
    if decoder.kind in _ROUNDED_KINDS and nominal and abs(nominal / average - 1) < _NEAR:
        return nominal
    return average


def _rate_of_list(decoder: Decoder) -> Fraction | None:
    times = [entry.timestamp for entry in decoder.stream.index_entries]
    return _rate_of(times, decoder.stream.time_base)


def _rate_of_packets(decoder: Decoder) -> Fraction | None:
    """The rate of a container that states none, from the times of all its packets; reads the file once more."""
    other = Decoder(decoder.path, decoder.kind)
    try:
        packets = other.container.demux(other.stream)
        times = [packet.pts for packet in packets if packet.size and packet.pts is not None and not packet.is_discard]
        return _rate_of(times, other.stream.time_base)
    except (av.FFmpegError, OSError):
        return None
    finally:
        other.close()


def _rate_of(times: list[int], time_base: Fraction) -> Fraction | None:
    span = max(times, default=0) - min(times, default=0)
    return (len(times) - 1) / (span * time_base) if span > 0 else None
