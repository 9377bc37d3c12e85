"""How many frames a file gives and when, told from its packets alone where that is proven to equal decoding.

A header's number of frames is a claim: cutting a file without encoding it again leaves frames that an edit list hides,
and fragments leave some that the header does not know of. Packets tell both. But they equal frames only where

- the codec makes one frame of a packet, which excludes MPEG-1, -2 and -4, whose first packets give none after a cut;
- the first packet can be decoded by itself: a key frame, of H.264 an IDR picture, which no shown frame comes before;
- every packet has a time of its own, and the file is not cut short.

`tests/test_media_counting.py` holds this against decoding. A packet damaged on the disk is seen only by decoding.
"""

import itertools
from collections.abc import Iterator, Sequence

import av

from workbench.media.decode import TIMED_KINDS, Decoder
from workbench.media.structure import is_cut_short, is_fragmented

_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "prores", "qtrle", "ffv1", "theora")
_MAX_REORDERED = 16  # pictures that H.264 and HEVC may show before one that is decoded earlier
_IDR, _SLICES = 5, (1, 2, 5)  # types of NAL units, ITU-T H.264, table 7-1


def listed_frames(decoder: Decoder) -> int | None:
    """Frames that a container lists and shows, without reading them; None where it has no complete list."""
    stream = decoder.stream
    if decoder.kind == "mov" and is_fragmented(decoder.path):
        return None
    if decoder.kind in ("mov", "avi") and not is_cut_short(decoder.path, decoder.kind):
        entries = sum(not entry.is_discard for entry in stream.index_entries)
        return entries or stream.frames or None
    return stream.frames or None


def proven_count(decoder: Decoder) -> int | None:
    """Frames that decode, None where only decoding tells. Reads packets: `reopen` before decoding.

    Reads all of them only in files whose container has no list of its samples.
    """
    listed = listed_frames(decoder)
    if decoder.kind == "mov" and listed and begins_whole(decoder):
        return listed
    decoder.reopen()
    times = shown_times(decoder)
    return None if times is None else len(times)


def shown_times(decoder: Decoder, at_least: int | None = None) -> list[tuple[int, int]] | None:
    """When the frames that a fresh decoder will give are shown, in order: time and duration in its `time_base`.

    Args:
        at_least: reading ends when so many are known; the last of the others may not be in order.

    Returns:
        None where only decoding tells.
    """
    packets = _packets(decoder)
    first = next(packets, None)
    if first is None or not _is_provable(decoder, first):
        return None
    enough = None if at_least is None else at_least + _MAX_REORDERED
    try:
        shown = (packet for packet in itertools.chain([first], packets) if not packet.is_discard)
        listed = [(packet.pts, packet.duration or 0) for packet in itertools.islice(shown, enough)]
    except (av.FFmpegError, OSError):
        return None
    times = [(time, duration) for time, duration in listed if time is not None]
    return sorted(times) if _are_in_order([time for time, _ in listed], first.pts) else None


def begins_whole(decoder: Decoder) -> bool:
    """Whether the first packets of a fresh decoder are as a proof needs them; the rest is not read."""
    packets = _packets(decoder)
    try:
        head = list(itertools.islice(packets, _MAX_REORDERED + 1))
    except (av.FFmpegError, OSError):
        return False
    shown = [packet.pts for packet in head if not packet.is_discard]
    return bool(head) and _is_provable(decoder, head[0]) and _are_in_order(shown, head[0].pts)


def _packets(decoder: Decoder) -> Iterator[av.Packet]:
    return (packet for packet in decoder.container.demux(decoder.stream) if packet.size)


def _is_provable(decoder: Decoder, first: av.Packet) -> bool:
    codec = decoder.stream.codec_context.codec.canonical_name
    if decoder.kind not in TIMED_KINDS or codec not in _CODECS or is_cut_short(decoder.path, decoder.kind):
        return False
    return first.is_keyframe and first.pts is not None and (codec != "h264" or _is_idr(decoder, first))


def _is_idr(decoder: Decoder, packet: av.Packet) -> bool:
    """Whether the first slice of an H.264 packet is of an IDR picture. Others that are marked as key frames may need
    frames before them, or give none for a while."""
    header = bytes(decoder.stream.codec_context.extradata or b"")
    if header[:1] != b"\x01" or len(header) < 5:  # ISO/IEC 14496-15, 5.3.3.1
        return False
    data, place, width = bytes(packet), 0, (header[4] & 3) + 1
    while place + width < len(data):
        kind = data[place + width] & 31
        if kind in _SLICES:
            return kind == _IDR
        place += width + int.from_bytes(data[place : place + width], "big")
    return False


def _are_in_order(times: Sequence[int | None], first: int | None) -> bool:
    """Whether all are known, differ, and none is before the first packet's."""
    known = {time for time in times if time is not None}
    return first is not None and bool(known) and len(known) == len(times) and min(known) >= first
