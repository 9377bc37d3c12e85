"""Files on disk before any decoder sees them: which kind, whether they are whole, and writing without half-files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workbench.errors import MediaError
from workbench.files import quoted

MEDIA_EXTENSIONS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg", ".jpeg", ".webp")
"""Extensions of the files that can be read. Reading itself goes by content, not by extension."""

IMAGE_KINDS = ("png_pipe", "jpeg_pipe", "webp_pipe")
KINDS = ("mov", "matroska", "avi", "gif", *IMAGE_KINDS)
"""FFmpeg's names of the formats that `identify` can return."""

_QUICKTIME_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_PLAYLISTS = ("#EXTM3U", "ffconcat", "file ", "v=0", "<?xml", "<MPD", "<SmoothStreamingMedia", "[playlist]")


def list_media(folder: str | os.PathLike) -> list[Path]:
    """The media files directly in a folder, by name; hidden files are left out.

    Raises:
        MediaError: it is not a folder that can be read.
    """
    try:
        entries = sorted(Path(folder).iterdir())
    except OSError as error:
        raise MediaError(f"{quoted(folder)}: not a folder that can be read ({error.strerror})") from None
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in MEDIA_EXTENSIONS and entry.is_file() and not entry.name.startswith(".")
    ]


def identify(path: Path) -> str:
    """FFmpeg's name of the format of a regular file, told by its first bytes alone: nothing that it names is opened.

    FFmpeg's own detection also accepts playlists and scripts that make it open other files and addresses.

    Raises:
        MediaError: there is no such regular file, or it is not of a format that can be read; the message says which.
    """
    name = quoted(path)
    try:
        if not path.exists():
            raise MediaError(f"{name}: no such file")
        if not path.is_file():
            raise MediaError(f"{name}: not a regular file")
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not head:
        raise MediaError(f"{name}: the file is empty (0 bytes)")
    kind = _kind_of(head)
    if kind is None:
        raise MediaError(f"{name}: {_why_not_media(head)}")
    return kind


def _kind_of(head: bytes) -> str | None:
    signatures = {
        b"\x1a\x45\xdf\xa3": "matroska",
        b"GIF87a": "gif",
        b"GIF89a": "gif",
        b"\x89PNG\r\n\x1a\n": "png_pipe",
        b"\xff\xd8\xff": "jpeg_pipe",
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp_pipe"}.get(head[8:12])
    return "mov" if head[4:8] in _QUICKTIME_BOXES else None


def _why_not_media(head: bytes) -> str:
    try:
        text = head[:4000].decode("utf-8-sig", errors="strict" if len(head) < 4000 else "ignore").lstrip()
    except UnicodeDecodeError:
        text = ""
    is_text = bool(text) and all(char.isprintable() or char.isspace() for char in text)
    if is_text and text.startswith(_PLAYLISTS):
        return "a playlist or script that points to other files is not opened; give the video itself"
    if is_text:
        return "this is text, not a video or an image"
    return "the header is corrupt or of no format that can be read (mp4, mov, mkv, webm, avi, gif, png, jpeg, webp)"


def is_cut_short(path: Path, kind: str) -> bool:
    """Whether the file ends before its own structure says that it should."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "mov":
            return max((end for _, end in _boxes(file, size)), default=0) > size
        if kind in ("avi", "webp_pipe"):
            file.seek(4)
            return int.from_bytes(file.read(4), "little") + 8 > size
        if kind == "matroska":
            return _segment_end(file.read(4096)) > size
        data = file.read()
    if kind == "gif":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "png_pipe":
        return b"IEND" not in data
    return data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0


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
