"""What the structure of a file says of itself, read without a decoder: whether it is whole, and what its header is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_TOP_BOXES = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
    b"pnot",
    b"moof",
    b"mfra",
    b"sidx",
    b"styp",
    b"meta",
)
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # of JPEG, behind a scan: neither stuffing nor a restart
_META_BYTES = 1 << 16
_START_OF_IMAGE, _END_OF_IMAGE = 0xD8, 0xD9


_GIF_TRAILER, _GIF_PICTURE, _GIF_CONTROL = 0x3B, 0x2C, 0xF9


def is_cut_short(path: Path, kind: str) -> bool:
    """Whether the file ends before its own structure says that it should. Bytes behind that end, such as the film of a
    motion photo, say nothing; nor do the streams of MPEG, which have no end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind in ("mov", "avif", "heif"):
            return max((end for box, end in _boxes(file, size) if box in _TOP_BOXES), default=0) > size
        if kind in ("avi", "webp_pipe"):
            file.seek(4)
            return int.from_bytes(file.read(4), "little") + 8 > size
        if kind == "matroska":
            return _segment_end(file.read(4096)) > size
        has_end = {"gif": _gif_has_end, "png_pipe": _png_has_end, "jpeg_pipe": _jpeg_has_end}.get(kind)
        return has_end is not None and not has_end(file.read())


def has_movie_header(path: Path) -> bool:
    """Whether an MP4 or QuickTime file has all of its `moov` box, without which nothing in it can be decoded."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return any(box == b"moov" and end <= size for box, end in _boxes(file, size))


def is_fragmented(path: Path) -> bool:
    """Whether an MP4 file has samples in fragments ('moof'), of which its header knows nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return any(box == b"moof" for box, _ in _boxes(file, size))


def states_rate(path: Path, kind: str) -> bool:
    """Whether a frame rate in the header is not zero. FFmpeg silently takes 25 fps for an AVI file without one."""
    if kind != "avi":
        return True
    with path.open("rb") as file:
        head = file.read(4096)
    stream_header = head.find(b"vids")  # dwScale and dwRate follow at 20 and 24
    return stream_header < 0 or any(head[stream_header + 24 : stream_header + 28])


def picture_colours(path: Path, kind: str) -> tuple[int, int, int]:
    """Bits a value, primaries and transfer (code points of ITU-T H.273) of an AVIF or HEIC picture; 8, 2, 2 where the
    beginning of the file does not say."""
    with path.open("rb") as file:
        head = file.read(_META_BYTES) if kind in ("avif", "heif") else b""
    bits, (primaries, transfer) = 8, (2, 2)
    if (place := head.find(b"av1C")) >= 0:  # AV1-ISOBMFF, 2.3.3
        bits += {2: 2, 3: 4}.get(int.from_bytes(head[place + 6 : place + 7], "big") >> 5 & 3, 0)
    elif (place := head.find(b"hvcC")) >= 0:  # ISO/IEC 14496-15, 8.3.3.1
        bits += int.from_bytes(head[place + 21 : place + 22], "big") & 7
    if (place := head.find(b"colrnclx")) >= 0:  # ISO/IEC 14496-12, 12.1.5
        primaries, transfer = (int.from_bytes(head[place + at : place + at + 2], "big") for at in (8, 10))
    return bits, primaries, transfer


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Type and end position of each top-level box of an MP4 file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # the last box, to the end of the file
            length = size - position
        if length < 8:
            return
        position += length
        yield header[4:8], position


def _segment_end(head: bytes) -> int:
    """Where the Segment of a Matroska file ends (RFC 9559), 0 if it does not say."""
    start = head.find(b"\x18\x53\x80\x67")
    if start < 0 or start + 12 > len(head):
        return 0
    width = 9 - head[start + 4].bit_length()
    length = int.from_bytes(head[start + 4 : start + 4 + width], "big") - (1 << 7 * width)
    unknown = (1 << 7 * width) - 1
    return 0 if length == unknown else start + 4 + width + length


def _jpeg_has_end(data: bytes) -> bool:
    """Whether the segments and scans of the first picture lead to its end (ITU-T T.81, annex B)."""
    place = 2
    while (marker := _NEXT_MARKER.search(data, place)) is not None:
        kind, place = data[marker.start() + 1], marker.end()
        if kind == _END_OF_IMAGE:
            return True
        if kind != _START_OF_IMAGE:
            place += int.from_bytes(data[place : place + 2], "big")
    return False


def _png_has_end(data: bytes) -> bool:
    """Whether the chunks lead to IEND."""
    place = 8
    while place + 8 <= len(data):
        if data[place + 4 : place + 8] == b"IEND":
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False


def has_pictures_without_times(path: Path) -> bool:
    """Whether a GIF of several pictures has one without a graphic control, which may be left out where nothing is said
    of its time: FFmpeg's parser joins such pictures, and some are lost."""
    controls, pictures, timed = False, 0, 0
    for block in _gif_blocks(path.read_bytes()):
        if block == _GIF_PICTURE:
            pictures, timed, controls = pictures + 1, timed + controls, False
        elif block == _GIF_CONTROL:
            controls = True
    return pictures > 1 and timed < pictures


def _gif_has_end(data: bytes) -> bool:
    """Whether the blocks lead to the trailer."""
    return _GIF_TRAILER in _gif_blocks(data)


def _gif_blocks(data: bytes) -> Iterator[int]:
    """The blocks as their kinds, or of extensions their labels (GIF89a, appendix A)."""
    place = 13 + _colour_table(data[10:11])
    while place < len(data):
        kind, place = data[place], place + 1
        if kind == _GIF_TRAILER:
            yield kind
            return
        if kind == _GIF_PICTURE:  # its place, its colours, and the size of its codes
            yield kind
            place += 9 + _colour_table(data[place + 8 : place + 9]) + 1
        else:  # an extension and its label
            yield from data[place : place + 1]
            place += 1
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1


def _colour_table(packed: bytes) -> int:
    """Bytes of the table of colours that a packed field announces."""
    return 3 << (packed[0] & 7) + 1 if packed and packed[0] & 0x80 else 0
