"""One video stream of one file, opened safely and decoded frame by frame with PyAV (FFmpeg)."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.files import IMAGE_KINDS, KINDS
from workbench.media.info import MAX_PIXELS, check_pixels
from workbench.media.structure import has_movie_header, is_cut_short

TIMED_KINDS = ("mov", "matroska")
"""Kinds whose packets say when their frames are shown; those of AVI say when they are decoded."""

_TIMEOUT_S = 60.0
_VIDEO_CODECS = (
    "h264,hevc,vvc,av1,libdav1d,libaom-av1,vp8,vp9,libvpx,libvpx-vp9,mpeg1video,mpeg2video,mpeg4,msmpeg4v2,msmpeg4,"
    "h263,theora,mjpeg,prores,dnxhd,cfhd,ffv1,ffvhuff,huffyuv,utvideo,magicyuv,qtrle,rawvideo,v210,dvvideo,vc1,wmv3,"
    "gif,png,webp"
)
# Sound is never decoded, but FFmpeg looks into it while it opens a file.
_AUDIO_CODECS = "aac,ac3,eac3,alac,flac,mp2,mp3,mp3float,opus,libopus,vorbis,pcm_s16le,pcm_s16be,pcm_s24le,pcm_f32le"
_NOT_PLAYED = Disposition.attached_pic | Disposition.timed_thumbnails
_DEFAULT_WORTH = 5_000_000  # pixels that being the default outweighs, as where ffmpeg chooses (map_auto_video)
_OPTIONS = {
    "format_whitelist": ",".join(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", *KINDS)),
    "protocol_whitelist": "file",
    "codec_whitelist": f"{_VIDEO_CODECS},{_AUDIO_CODECS}",
    "max_pixels": str(MAX_PIXELS),
}


class Decoder:
    """Decoded frames in order, and a count of what went wrong on the way.

    Attributes:
        bad_packets: packets that the decoder rejected; their frames are lost.
        corrupt_frames: frames that the decoder gave out but marked as damaged.
        reached_end: whether the whole stream has been decoded.
        read_error: why reading stopped before the end of the file, if it did.
        passed_over: what the other video streams are, in words.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self.forget_faults()
        self.container = _open(path, kind)
        try:
            self.stream = self._video_stream()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.container.close()

    def frames(self) -> Iterator[VideoFrame]:
        """The frames from the current position to the end; packets that cannot be decoded are counted and skipped."""
        latest, count = None, 0
        for frame in self._frames_to_end():
            count += 1
            if frame.pts is not None:
                latest = frame.pts if latest is None else max(latest, frame.pts)
            yield frame
        is_short = self.kind in TIMED_KINDS and count < self._shown_packets
        if is_short and latest is not None and self._last_packet_pts > latest:
            yield from self._frames_after(latest)
        self.reached_end = True

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick of the stream's clock, which every stream that was opened has."""
        assert self.stream.time_base is not None
        return self.stream.time_base

    def claimed_duration_s(self) -> float | None:
        """Seconds that the header claims, None if it does not say."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        if not self.container.duration:
            return None
        # Matroska tells when a file ends, on a clock that need not begin at 0.
        start = self.container.start_time or 0 if self.kind == "matroska" else 0
        return max(self.container.duration - start, 0) / av.time_base or None

    def likely_fault(self) -> str:
        """Why not a single frame comes out."""
        if is_cut_short(self.path, self.kind):
            return "the file is cut short"
        if not self.stream.width:  # FFmpeg forgets sides that it refuses
            return f"its frames are over the limit of {MAX_PIXELS:,} pixels or its header is damaged"
        return "its data is damaged"

    def reopen(self) -> None:
        """Go back to the start with a fresh decoder."""
        self.close()
        self.container = _open(self.path, self.kind)
        self.stream = self._video_stream()
        self.forget_faults()

    def forget_faults(self) -> None:
        """Start the counts anew."""
        self.bad_packets = self.corrupt_frames = 0
        self.reached_end = False
        self.read_error: str | None = None

    def _frames_to_end(self) -> Iterator[VideoFrame]:
        packets = self.container.demux(self.stream)
        self._last_packet_pts, self._shown_packets = -(2**63), 0
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self.read_error, packet = error.strerror, None
            if packet is None:
                break
            if packet.size:
                self._shown_packets += not packet.is_discard
                if packet.pts is not None and not packet.is_discard:
                    self._last_packet_pts = max(self._last_packet_pts, packet.pts)
                yield from self._decode(packet)
        yield from self._decode(None)

    def _frames_after(self, pts: int) -> Iterator[VideoFrame]:
        """The frames later than `pts`, decoded again with one thread.

        With frame threads several frames are on their way when the data ends, and a damaged one takes the others with
        it, as many as there are threads. With one thread nothing that can be decoded is lost.
        """
        self.reopen()
        self.stream.thread_type = "SLICE"
        yield from (frame for frame in self._frames_to_end() if frame.pts is not None and frame.pts > pts)

    def _decode(self, packet: av.Packet | None) -> Iterator[VideoFrame]:
        try:
            frames = self.stream.decode(packet)
        except (av.FFmpegError, OSError):
            self.bad_packets += 1
            return
        for frame in frames:
            self.corrupt_frames += frame.is_corrupt
            yield frame

    def _video_stream(self) -> VideoStream:
        name, videos = quoted(self.path), self.container.streams.video
        played = [video for video in videos if not video.disposition & _NOT_PLAYED]
        if not played:
            content = "sound but no video" if self.container.streams.audio else "no video"
            raise MediaError(f"{name}: {_cut_off_header(self.path, self.kind) or f'it holds {content}'}")
        stream = max(played, key=_worth)
        self.passed_over = [_described(video) for video in videos if video.index != stream.index]
        context = stream.codec_context
        if context is None or context.codec.name not in _VIDEO_CODECS.split(","):
            raise MediaError(f"{name}: its video codec ({context.name if context else 'unknown'}) is not supported")
        check_pixels(self.path, stream.width, stream.height)
        context.options = {"max_pixels": _OPTIONS["max_pixels"]}
        context.thread_type = "SLICE" if self.kind in IMAGE_KINDS else "AUTO"
        return stream


def _worth(stream: VideoStream) -> int:
    """What ffmpeg compares to choose a stream where nobody says which; the first of equals is taken."""
    pixels = stream.width * stream.height if stream.codec_context else 0
    return pixels + _DEFAULT_WORTH * bool(stream.disposition & Disposition.default)


def _described(stream: VideoStream) -> str:
    context = stream.codec_context
    what = " (a picture)" if stream.disposition & _NOT_PLAYED else ""
    return f"{context.name} {context.width}x{context.height}{what}" if context else "one of an unknown codec"


def _open(path: Path, kind: str) -> av.container.InputContainer:
    """Open with the format already known; FFmpeg may then touch this one file and nothing else."""
    try:
        # The prefix keeps FFmpeg from reading a protocol into the name.
        url = f"file:{path.absolute()}"
        return av.open(url, format=kind, options=_OPTIONS, metadata_errors="replace", timeout=_TIMEOUT_S)
    except (av.FFmpegError, OSError) as error:
        reason = _cut_off_header(path, kind) or f"its header is corrupt ({error.strerror})"
        raise MediaError(f"{quoted(path)}: {reason}") from None


def _cut_off_header(path: Path, kind: str) -> str | None:
    if kind == "mov" and not has_movie_header(path):
        return "the file is cut off before the end of its header ('moov'), so nothing in it can be decoded"
    return None
