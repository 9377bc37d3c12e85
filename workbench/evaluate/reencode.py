"""Frames written as a compressed video and read back, as some protocols do before they compare."""

import importlib.util
import io
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import ConfigError


def require_opencv(protocol: str) -> None:
    """Raise ConfigError, saying how to install it, unless OpenCV is there."""
    if importlib.util.find_spec("cv2") is None:
        raise ConfigError(f"`protocol`: {protocol} writes its files with OpenCV: pip install opencv-python-headless")


def through_mp4v(frames: Tensor, fps: float) -> Tensor:
    """uint8 (T, 3, H, W) through OpenCV's `mp4v` writer (MPEG-4 part 2, at OpenCV's own bit rate) and back."""
    cv2: Any = import_module("cv2")  # its stubs lack names
    even = _even(frames)
    height, width = even.shape[2:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
        for frame in even.permute(0, 2, 3, 1):
            writer.write(frame.flip(2).contiguous().numpy())  # OpenCV takes blue, green, red
        writer.release()
        return _decoded(str(path), frames.shape)


def through_h264(frames: Tensor, fps: float, crf: int) -> Tensor:
    """uint8 (T, 3, H, W) through x264 at this constant rate factor, 4:2:0, and back."""
    even, buffer = _even(frames), io.BytesIO()
    height, width = even.shape[2:]
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=max(1, round(fps)), options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in even.permute(0, 2, 3, 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.contiguous().numpy(), format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    return _decoded(buffer, frames.shape)


def _even(frames: Tensor) -> Tensor:
    """4:2:0 takes even sides only: an odd one gets its last row or column twice."""
    height, width = frames.shape[2:]
    return F.pad(frames.float(), (0, width % 2, 0, height % 2), mode="replicate").to(torch.uint8)


def _decoded(source: str | io.BytesIO, shape: torch.Size) -> Tensor:
    with av.open(source, "r") as container:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    if len(frames) != shape[0]:
        raise RuntimeError(f"{shape[0]} frames were written, {len(frames)} read back")
    return torch.stack(frames).permute(0, 3, 1, 2)[:, :, : shape[2], : shape[3]]
