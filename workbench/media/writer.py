"""Video files: H.264 that browsers play, or FFV1 that keeps every bit."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import torch
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from torch import Tensor

from workbench.errors import MediaError, ShapeError
from workbench.files import quoted, written_whole
from workbench.media.encoding import EncoderPixels, add_ffv1, add_h264
from workbench.media.info import is_long_step, is_regular_step
from workbench.media.rates import MAX_FPS
from workbench.media.video import Video

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_LOSSLESS_EXTENSIONS = (".mkv",)
_CLOCK_HZ = 90_000  # of files with timestamps: a multiple of the usual rates


class VideoWriter:
    """Writes a video file frame by frame, in constant memory; a context manager.

    The file appears under its name, synced to disk, when the block ends without an error; otherwise nothing remains.
    Lossy: H.264, yuv420p tagged BT.709 of limited range, which browsers play while it downloads; an odd side gets its
    last row or column repeated once, see `warnings`. Lossless: FFV1 in Matroska, 8-bit RGB, exact.

    Attributes:
        warnings: what a viewer should know, one line each; complete after the first write.
    """

    def __init__(
        self, path: str | Path, fps: float, lossless: bool = False, last_duration_s: float | None = None
    ) -> None:
        """Check the request; the file is begun by `with` and the first write.

        Args:
            last_duration_s: how long the last frame is shown, in a file with timestamps; by default 1 / fps.

        Raises:
            MediaError: the extension does not fit (.mp4, .mov or .mkv; .mkv if lossless) or fps is not in (0, 10000].
        """
        self.path, self.lossless = Path(path), lossless
        extensions = _LOSSLESS_EXTENSIONS if lossless else tuple(_FORMATS)
        if self.path.suffix.lower() not in extensions:
            what = "lossless video" if lossless else "video"
            raise MediaError(f"{quoted(path)}: {what} is written as {', '.join(extensions)}")
        if not 0 < fps <= MAX_FPS:
            raise MediaError(f"{quoted(path)}: {fps} frames per second are outside (0, {MAX_FPS}]")
        self.warnings: tuple[str, ...] = ()
        self._rate = Fraction(fps).limit_denominator(100_000)
        self._last_duration_s = last_duration_s or 1 / fps
        self._held: VideoFrame | None = None
        self._durations: dict[int, int] = {}  # of frames on their way through the encoder
        self._exits = ExitStack()
        self._container: OutputContainer | None = None

    def __enter__(self) -> "VideoWriter":
        self._temporary = self._exits.enter_context(written_whole(self.path))
        self._exits.push(self._finish)
        return self

    def __exit__(self, *error: Any) -> None:
        self._exits.__exit__(*error)

    def write(self, frames_TCHW: Tensor, timestamps_s: Sequence[float] | None = None) -> None:
        """Append uint8 (T, 3, H, W) RGB frames.

        Args:
            timestamps_s: presentation time of each frame, for a varying rate: with every call or with none. The file
                starts at the first of them.

        Raises:
            ShapeError: they are not such frames, not of the size of the first, or timestamps come and go.
            MediaError: a timestamp does not increase, or the file cannot be written.
        """
        shape = tuple(frames_TCHW.shape)
        if frames_TCHW.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise ShapeError(f"frames to write must be a uint8 (T, 3, H, W) tensor, got {frames_TCHW.dtype} {shape}")
        if timestamps_s is not None and len(timestamps_s) != shape[0]:
            raise ShapeError(f"{shape[0]} frames need as many timestamps, got {len(timestamps_s)}")
        with _encoder_errors(self.path):
            if self._container is None:
                self._begin(shape[2], shape[3], None if timestamps_s is None else timestamps_s[0])
            if shape[2:] != self._size:
                raise ShapeError(f"all frames of a video have one size: {self._size} at first, then {shape[2:]} (H, W)")
            times = [None] * shape[0] if timestamps_s is None else timestamps_s
            for frame_CHW, time_s in zip(frames_TCHW.cpu(), times, strict=True):
                self._encode(frame_CHW, self._next_pts(time_s))

    def _begin(self, height: int, width: int, start_s: float | None) -> None:
        extension = self.path.suffix.lower()
        options = {} if extension == ".mkv" else {"movflags": "+faststart"}
        # The prefix keeps FFmpeg from reading a protocol into the name.
        url = f"file:{self._temporary.absolute()}"
        self._container = av.open(url, "w", format=_FORMATS[extension], options=options)
        self._size, self._start_s, self._last_pts = (height, width), start_s, -1
        given = self._container, self._rate, height, width
        self._stream = add_ffv1(*given) if self.lossless else add_h264(*given, is_timed=start_s is not None)
        time_base = 1 / self._rate if start_s is None else Fraction(1, _CLOCK_HZ)
        self._stream.codec_context.time_base = time_base
        self._pixels = EncoderPixels(self._stream, time_base)
        odd = [name for name, pixels in (("row", height), ("column", width)) if pixels % 2]
        if odd and not self.lossless:
            repeated = " and ".join(odd)
            self.warnings = (f"H.264 needs even sides: the last {repeated} of {width}x{height} is repeated once",)

    def _next_pts(self, time_s: float | None) -> int:
        if (time_s is None) != (self._start_s is None):
            raise ShapeError("timestamps are given with every frame of a video or with none")
        pts = self._last_pts + 1 if time_s is None else round((time_s - (self._start_s or 0.0)) * _CLOCK_HZ)
        if pts <= self._last_pts:
            raise MediaError(f"{quoted(self.path)}: timestamps must increase, {time_s} s does not")
        self._last_pts = pts
        return pts

    def _encode(self, frame_CHW: Tensor, pts: int) -> None:
        self._mux(self._pixels(frame_CHW, pts))

    def _mux(self, frame: VideoFrame | None) -> None:
        """Encode the frame that is held back and hold this one: only the next tells how long a frame is shown."""
        held, self._held = self._held, frame
        if held is None:
            return
        if self._start_s is not None and held.pts is not None:
            end = frame.pts if frame is not None else None
            end = held.pts + round(self._last_duration_s * _CLOCK_HZ) if end is None else end
            self._durations[held.pts] = max(end - held.pts, 1)
        self._mux_packets(self._stream.encode(held))

    def _mux_packets(self, packets: Iterable[Packet]) -> None:
        assert self._container is not None, "packets before the first frame"
        for packet in packets:
            if packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def _finish(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._complete()
        finally:
            self._abandon_unless_closed()

    def _complete(self) -> None:
        if self._container is None:
            raise MediaError(f"{quoted(self.path)}: not written, there are no frames")
        with _encoder_errors(self.path):
            self._mux(None)
            self._mux_packets(self._stream.encode())
            self._container.close()
        self._container = None

    def _abandon_unless_closed(self) -> None:
        if self._container is None:
            return
        self._temporary.unlink(missing_ok=True)  # first, so that closing does not rearrange a file that nobody wants
        with suppress(av.FFmpegError, OSError):
            self._container.close()


def write_video(video: Video, path: str | Path, lossless: bool = False) -> tuple[str, ...]:
    """Write a clip as `VideoWriter` does, with its timestamps where the frame rate varies; return the warnings.

    Raises:
        MediaError: the file cannot be written as asked; nothing half-written remains.
    """
    with VideoWriter(path, video.fps, lossless, video.last_duration_s) as writer:
        writer.write(video.frames, video.timestamps_s if _rate_varies(video) else None)
    return writer.warnings


def _rate_varies(video: Video) -> bool:
    if video.timestamps_s and video.last_duration_s and is_long_step(video.last_duration_s, video.fps):
        return True
    steps_s = (later - earlier for earlier, later in pairwise(video.timestamps_s or ()))
    return not all(is_regular_step(step_s, video.fps) for step_s in steps_s)


@contextmanager
def _encoder_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the encoder or the disk into a MediaError."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{quoted(path)}: cannot be written ({error.strerror or error})") from error
