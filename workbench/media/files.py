"""Files on disk before any decoder sees them: which of them are media, and of which kind."""

import os
from collections.abc import Iterable
from pathlib import Path

from workbench.errors import MediaError
from workbench.files import quoted

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE_INDEX = EXAMPLES / "examples.csv"
"""The clips that are shipped, and their index."""

_EXTENSIONS = {
    "mov": (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v"),
    "matroska": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".mts", ".m2ts"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "gif": (".gif",),
    "png_pipe": (".png", ".apng"),
    "jpeg_pipe": (".jpg", ".jpeg", ".jfif"),
    "webp_pipe": (".webp",),
    "avif": (".avif", ".avifs"),
    "heif": (".heic", ".heif", ".hif"),
}
MEDIA_EXTENSIONS = tuple(extension for extensions in _EXTENSIONS.values() for extension in extensions)
"""Extensions of the files that can be read, and that are looked for in folders. Reading goes by content."""

PICTURE_KINDS = ("avif", "heif")
"""Kinds that Pillow reads, or a plug-in of it."""
IMAGE_KINDS = ("png_pipe", "jpeg_pipe", "webp_pipe")
KINDS = tuple(kind for kind in _EXTENSIONS if kind not in PICTURE_KINDS)
"""FFmpeg's names of the other formats that `identify` can return."""

_QUICKTIME_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")
_MOST_NAMES = 3
_PLAYLISTS = ("#EXTM3U", "ffconcat", "file ", "v=0", "<?xml", "<MPD", "<SmoothStreamingMedia", "[playlist]")


def list_media(folder: str | os.PathLike) -> list[Path]:
    """The media files directly in a folder, by name; hidden files are left out.

    Raises:
        MediaError: it is not a folder that can be read.
    """
    return [path for path in list_files(folder) if is_media(path)]


def list_files(folder: str | os.PathLike) -> list[Path]:
    """All files directly in a folder that are not hidden, by name; errors as of `list_media`."""
    try:
        entries = sorted(Path(folder).iterdir())
    except OSError as error:
        raise MediaError(f"{quoted(folder)}: not a folder that can be read ({error.strerror})") from None
    return [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]


def is_media(path: Path) -> bool:
    """Whether a file is looked at where it is found in a folder: by its extension."""
    return path.suffix.lower() in MEDIA_EXTENSIONS


def others_left_out(files: Iterable[Path]) -> str | None:
    """What to say of the files of a folder that are no media; None if all are."""
    others = [path for path in files if not is_media(path)]
    if not others:
        return None
    names = ", ".join(quoted(path.name) for path in others[:_MOST_NAMES]) + ", ..." * (len(others) > _MOST_NAMES)
    return f"{len(others)} other {'file' if len(others) == 1 else 'files'} left out: {names}"


def identify(path: Path) -> str:
    """The kind of a regular file: FFmpeg's name of its format, or one of PICTURE_KINDS.

    Its first bytes alone tell it, nothing that it names is opened. FFmpeg's own detection also accepts playlists and
    scripts that make it open other files and addresses.

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
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    if _is_transport_stream(head):
        return "mpegts"
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    return "mov" if head[4:8] in _QUICKTIME_BOXES else None


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets of 188 bytes, or with a time in front 192, all begin with their mark (ISO/IEC 13818-1, 2.4.3.2).
    A recording may begin in the middle of one."""
    marks = (head[start::size] for size in (188, 192) for start in range(size))
    return any(len(found) >= 4 and found == b"G" * len(found) for found in marks)


def _kind_of_brands(head: bytes) -> str:
    """Pictures and films share a container (ISO/IEC 23008-12, ISO/IEC 14496-12); their brands tell them apart."""
    major, end = head[8:12], int.from_bytes(head[:4], "big")
    compatible = [head[place : place + 4] for place in range(16, min(end, len(head)), 4)]
    if major not in (*_AVIF_BRANDS, *_HEIF_BRANDS):
        return "mov"
    return "avif" if any(brand in _AVIF_BRANDS for brand in (major, *compatible)) else "heif"


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
    formats = ", ".join(extensions[0][1:] for extensions in _EXTENSIONS.values())
    return f"the header is corrupt or of no format that can be read ({formats})"
