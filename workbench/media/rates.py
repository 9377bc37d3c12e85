"""Frames per second, from the header where it is credible and from the timestamps where it is not."""

from fractions import Fraction

import av

from workbench.media.decode import Decoder
from workbench.media.structure import states_rate

MAX_FPS = 10_000
"""Rates above this are taken for a damaged header: high-speed cameras film at some thousands."""

_NEAR = 0.15
_ROUNDED_KINDS = ("matroska", "avi")  # whose times are rounded, or count what B-frames delay


def frame_rate(decoder: Decoder) -> Fraction | None:
    """Frames per second of a fresh or used decoder, the average if the rate varies; None if nothing tells it.

    AVI has a clock but no frames' rate: FFmpeg writes B-frames at twice the rate with every second one left out. What
    the list of its frames spans is the truth there.
    """
    if not states_rate(decoder.path, decoder.kind):
        return None
    stream = decoder.stream
    average = _listed_rate(decoder) or stream.average_rate or _rate_of_packets(decoder)
    if not average or average > MAX_FPS:
        return None
    if decoder.kind in _ROUNDED_KINDS:
        nominal = (stream.guessed_rate, stream.codec_context.framerate)
        return next((rate for rate in nominal if rate and abs(rate / average - 1) < _NEAR), average)
    return average


def _listed_rate(decoder: Decoder) -> Fraction | None:
    """The rate of the containers whose header tells another: of AVI, and of GIF, where the last frame counts too."""
    if decoder.kind == "gif":
        return _rate_of_packets(decoder, with_last=True)
    if decoder.kind == "avi":
        return _rate_of([entry.timestamp for entry in decoder.stream.index_entries], decoder.stream.time_base)
    return None


def _rate_of_packets(decoder: Decoder, with_last: bool = False) -> Fraction | None:
    """The rate from the times of all packets, and how long the last is shown if asked; reads the file once more."""
    other = Decoder(decoder.path, decoder.kind)
    try:
        packets = other.container.demux(other.stream)
        shown = [(packet.pts, packet.duration or 0) for packet in packets if packet.size and not packet.is_discard]
        known = [(time, duration) for time, duration in shown if time is not None]
        times = [time for time, _ in known]
        if with_last and len(known) == len(shown) > 0:
            times.append(sum(max(known)))
        return _rate_of(times, other.stream.time_base)
    except (av.FFmpegError, OSError):
        return None
    finally:
        other.close()


def _rate_of(times: list[int], time_base: Fraction | None) -> Fraction | None:
    span = max(times, default=0) - min(times, default=0)
    return (len(times) - 1) / (span * time_base) if time_base and span > 0 else None
