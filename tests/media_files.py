"""Makes the media files that the tests read, whole and broken."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench.errors import MediaError
from workbench.media.reader import read_video

FULL_RANGE, LIMITED_RANGE = 2, 1
BT709, UNTAGGED, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 2, 5, 6, 7, 9
PQ, HLG = 16, 18


def moving_pattern(num_frames: int, height: int = 48, width: int = 64) -> Tensor:
    """uint8 (T, 3, H, W): smooth gradients that move; every frame's mean differs clearly from its neighbours'."""
    t = torch.arange(num_frames).view(-1, 1, 1)
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    red = 60 + (t * 37) % 128 + x * 64 // width + y * 0
    green = 40 + (t * 11) % 96 + y * 64 // height + x * 0
    blue = 200 - (t * 23) % 128 - (x + y) * 64 // (width + height)
    return torch.stack((red, green, blue), 1).clamp(0, 255).to(torch.uint8)


def encode(
    path: Path,
    frames: Tensor,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    fps: float | Fraction = 30,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    configure: Callable[[av.VideoStream], None] = lambda stream: None,
    gop: int = 12,
    faststart: bool = True,
) -> Path:
    """Encode uint8 (T, 3, H, W) frames with PyAV alone; `configure` may set more on the stream before it opens."""
    movflags = {"movflags": "faststart"} if faststart and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=movflags) as container:
        rate = Fraction(fps).limit_denominator(100_000)
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], pixel_format
        stream.codec_context.time_base = time_base or 1 / rate
        stream.gop_size = gop
        configure(stream)
        for index, frame_CHW in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame_CHW.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = (pts[index] if pts else index), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if codec == "libsvtav1":
        _leave_real_time()
    return path


def _leave_real_time() -> None:
    """As root, SVT-AV1 puts its caller under SCHED_FIFO and leaves it there: servers and browsers that later tests
    start would inherit that, and starve each other and the machine for minutes."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # one that ended meanwhile
            os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))


def encode_planes(
    path: Path, planes: list[list[int]], matrix: int, colour_range: int, pixel_format: str = "yuv444p"
) -> Path:
    """Losslessly encode 64x32 frames of one Y, Cb, Cr value each, tagged with a matrix and a range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, pixel_format
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, colour_range
        for values in planes:
            frame = av.VideoFrame(64, 32, pixel_format)
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(np.full(plane.buffer_size, value, np.uint8).tobytes())
            frame.colorspace, frame.color_range = matrix, colour_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def audio_only(path: Path) -> Path:
    """One second of silence in an MP4 file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for index in range(43):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def two_resolutions(path: Path) -> Path:
    """A Matroska file whose MJPEG stream has 4 frames of 64x48, then 4 of 32x24."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.color_range = FULL_RANGE
        smaller = av.CodecContext.create("mjpeg", "w")
        smaller.width, smaller.height, smaller.pix_fmt, smaller.time_base = 32, 24, "yuvj420p", Fraction(1, 30)
        smaller.color_range = FULL_RANGE
        for index, frame_CHW in enumerate((*moving_pattern(4), *moving_pattern(4, 24, 32))):
            frame = av.VideoFrame.from_ndarray(frame_CHW.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            frame = frame.reformat(format="yuvj420p", dst_color_range=FULL_RANGE)
            frame.pts, frame.time_base = index, Fraction(1, 30)
            for packet in (stream if index < 4 else smaller).encode(frame):
                packet.stream = stream
                container.mux(packet)
    return path


def cut(path: Path, fraction: float) -> Path:
    """A copy that ends after this fraction of the bytes."""
    data = path.read_bytes()
    return _beside(path, "cut", data[: int(len(data) * fraction)])


def with_bit_rot(path: Path, first: float = 0.4, last: float = 0.8, count: int = 60) -> Path:
    """A copy with `count` bytes inverted between two fractions of the file."""
    data = bytearray(path.read_bytes())
    places = np.random.default_rng(0).integers(int(len(data) * first), int(len(data) * last), count)
    for place in places:
        data[place] ^= 0xFF
    return _beside(path, "rotten", bytes(data))


def with_bytes_replaced(path: Path, old: bytes, new: bytes) -> Path:
    """A copy with `old` replaced by `new` of the same length."""
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    return _beside(path, "patched", data.replace(old, new))


def enormous_png(path: Path, width: int, height: int) -> Path:
    """A small PNG file whose header claims these sides."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    return path


def _beside(path: Path, how: str, data: bytes) -> Path:
    copy = path.with_name(f"{path.stem}_{how}{path.suffix}")
    copy.write_bytes(data)
    return copy


def stream_copy(
    source: Path, path: Path, start: int = 0, offset_s: float = 0.0, options: dict[str, str] | None = None
) -> Path:
    """A copy of the packets without encoding, as `ffmpeg -ss ... -c copy` makes it: it begins with the last key frame
    at or before frame `start` (by presentation), whose time becomes 0; an edit list hides what is before it. All
    times are moved by `offset_s`."""
    with av.open(str(source)) as old:
        stream = old.streams.video[0]
        packets = [packet for packet in old.demux(stream) if packet.size]
        begin = sorted(packet.pts for packet in packets)[start]
        first = max(n for n, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= begin)
        with av.open(str(path), "w", options=options or {}) as new:
            copied = new.add_stream_from_template(stream)
            shift = begin - round(offset_s / stream.time_base)
            for packet in packets[first:]:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                new.mux(packet)
    return path


def joined(path: Path, clips: Sequence[Path]) -> Path:
    """The packets of clips one after the other in one stream, without encoding."""
    with av.open(str(path), "w") as new, av.open(str(clips[0])) as first:
        stream = new.add_stream_from_template(first.streams.video[0])
        shift = 0
        for clip in clips:
            with av.open(str(clip)) as old:
                packets = [packet for packet in old.demux(old.streams.video[0]) if packet.size]
                end = shift + sum(packet.duration for packet in packets)
                for packet in packets:
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    new.mux(packet)
                shift = end
    return path


def avif_grid(path: Path, tiles: Sequence[Tensor]) -> Path:
    """An AVIF photo (ISO/IEC 23008-12) of uint8 (3, H, W) tiles of one size beside each other, as of cameras."""
    coded = [_av1_of(tile) for tile in tiles]
    height, width = tiles[0].shape[1:]
    grid = struct.pack(">BBBBHH", 0, 0, 0, len(tiles) - 1, width * len(tiles), height)
    items, numbers = [grid, *(data for data, _ in coded)], range(1, len(tiles) + 2)
    kinds = [b"grid", *(b"av01" for _ in tiles)]
    info = [_full_box(b"infe", struct.pack(">HH4sB", n, 0, kind, 0), 2) for n, kind in zip(numbers, kinds, strict=True)]
    refers = _box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *numbers[1:]))
    sizes = [_full_box(b"ispe", struct.pack(">II", across, height)) for across in (width * len(tiles), width)]
    properties = _box(b"ipco", b"".join(sizes) + coded[0][1] + _full_box(b"pixi", bytes((3, 8, 8, 8))))
    uses = [struct.pack(">HBBB", 1, 2, 1, 4), *(struct.pack(">HBBBB", n, 3, 2, 3 | 0x80, 4) for n in numbers[1:])]
    associations = _full_box(b"ipma", struct.pack(">I", len(uses)) + b"".join(uses))

    def file_with(start: int) -> bytes:
        places, place = [], start
        for number, item in zip(numbers, items, strict=True):
            places.append(struct.pack(">HHHII", number, 0, 1, place, len(item)))
            place += len(item)
        where = struct.pack(">BBH", 0x44, 0, len(items)) + b"".join(places)
        parts = [
            _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            _full_box(b"pitm", struct.pack(">H", 1)),
            _full_box(b"iloc", where),
            _full_box(b"iinf", struct.pack(">H", len(items)) + b"".join(info)),
            _full_box(b"iref", refers),
            _box(b"iprp", properties + associations),
        ]
        head = _box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf") + _full_box(b"meta", b"".join(parts))
        return head + _box(b"mdat", b"".join(items))

    start = len(file_with(0)) - sum(map(len, items))
    path.write_bytes(file_with(start))
    return path


def _av1_of(tile: Tensor) -> tuple[bytes, bytes]:
    """The coded picture of a uint8 (3, H, W) tile, and the box of its configuration."""
    file = io.BytesIO()
    Image.fromarray(tile.permute(1, 2, 0).numpy()).save(file, "AVIF", quality=95, subsampling="4:4:4")
    data = file.getvalue()
    setup = data.index(b"av1C") - 4
    return data[data.index(b"mdat") + 4 :], data[setup : setup + int.from_bytes(data[setup : setup + 4], "big")]


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full_box(kind: bytes, content: bytes, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24) + content)


DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""CIE XYZ of red, green and blue, adapted to D50, as profiles state them."""


def icc_profile(name: str, colorants: Sequence[Sequence[float]], space: bytes = b"RGB ") -> bytes:
    """A colour profile (ICC.1:2010) with the transfer of sRGB."""
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    text = (
        b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(name), 28) + name.encode("utf-16-be")
    )
    tags = {b"desc": text, b"cprt": text, b"wtpt": _xyz(0.9642, 1.0, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {letter + b"XYZ": _xyz(*values) for letter, values in zip((b"r", b"g", b"b"), colorants, strict=True)}
        tags |= {letter + b"TRC": curve for letter in (b"r", b"g", b"b")}
    table, data, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += tag + struct.pack(">II", place + len(data), len(content))
        data += padded
    version, white = 0x04200000, _fixed(0.9642, 1.0, 0.8249)
    size = struct.pack(">I", place + len(data))
    header = size + bytes(4) + struct.pack(">I", version) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    return header + white + bytes(128 - len(header) - len(white)) + table + data


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def assert_frames_or_one_line(path: Path) -> None:
    """What a damaged file may come to: frames, or an error of one line."""
    try:
        outcome = str(read_video(path, max_bytes=2**28).num_frames)
    except MediaError as error:
        outcome = str(error)
    assert outcome != "0"
    assert "\n" not in outcome
