"""The two encoders of written files, and RGB frames as the pixels that each of them takes."""

from fractions import Fraction
from itertools import pairwise

import torch
from av.container import OutputContainer
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from av.video.stream import VideoStream
from torch import Tensor

_BT709_AVCOL = 1  # AVCOL_SPC_BT709
# What an H.264 file says or, of the place of its chroma samples, is taken to say (ITU-T H.264, E.2.1: left). FFmpeg's
# scaler puts them half a pixel to the right, in the centre, unless it is told.
_H264_PIXELS = (
    "out_color_matrix=bt709:out_range=tv:out_chroma_loc=left:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
)


def add_h264(container: OutputContainer, rate: Fraction, height: int, width: int, is_timed: bool) -> VideoStream:
    """A stream of H.264 that browsers play, tagged BT.709 of limited range; odd sides are one longer.

    Where frames have times of their own none is coded out of order: MP4 keeps the steps between frames in their order
    of coding, and the time of the last one would be lost.
    """
    options = {"crf": "16", "preset": "veryfast"} | ({"bf": "0"} if is_timed else {})
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.colorspace, context.color_range = _BT709_AVCOL, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def add_ffv1(container: OutputContainer, rate: Fraction, height: int, width: int) -> VideoStream:
    """A stream of FFV1, which keeps every bit of RGB."""
    stream = container.add_stream("ffv1", rate=rate, options={"level": "3", "slicecrc": "1"})
    stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
    return stream


class EncoderPixels:
    """Turns uint8 (3, H, W) RGB frames into frames for one stream: of its pixel format, colours and sides."""

    def __init__(self, stream: VideoStream, time_base: Fraction) -> None:
        self._stream, self._time_base = stream, time_base
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=stream.width, height=stream.height, format=VideoFormat("rgb24"), time_base=time_base
        )
        scale = self._graph.add("scale", _H264_PIXELS if stream.pix_fmt == "yuv420p" else "")
        chain = (source, scale, self._graph.add("format", stream.pix_fmt), self._graph.add("buffersink"))
        for earlier, later in pairwise(chain):
            earlier.link_to(later)
        self._graph.configure()

    def __call__(self, frame_CHW: Tensor, pts: int) -> VideoFrame:
        """The frame, shown at `pts`; its last row and column are repeated where the stream is larger."""
        padded = _padded(frame_CHW, self._stream.height, self._stream.width)
        frame = VideoFrame.from_ndarray(padded.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
        frame.pts, frame.time_base = pts, self._time_base
        self._graph.vpush(frame)
        return self._graph.vpull()


def _padded(frame_CHW: Tensor, height: int, width: int) -> Tensor:
    """The frame with its last row and column repeated up to this size."""
    rows = torch.arange(height).clamp_(max=frame_CHW.shape[1] - 1)
    columns = torch.arange(width).clamp_(max=frame_CHW.shape[2] - 1)
    return frame_CHW if frame_CHW.shape[1:] == (height, width) else frame_CHW[:, rows][:, :, columns]
