"""Cutting clips and photos into many small, losslessly stored crops: quick to decode, ready to train on.

Training on crops of full-size clips decodes and resizes far more pixels than it uses. A pack does that once. Photos
become clips too: a window pans, zooms and turns over them, which adds sharp detail in motion where films are few.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import ShapeError
from workbench.files import plain_stem, quoted
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.media.video import Video, to_float, to_uint8
from workbench.media.writer import write_video

PHOTO_FPS = 24.0
_MAX_SHIFT = 0.03  # of the crop's side per frame
_MAX_ZOOM = 0.15
_MAX_TURN = math.radians(10.0)


@dataclass(frozen=True)
class CropShape:
    """Frames and side in pixels of every crop, and the resolution (see `workbench.media.resolution`) to cut from."""

    frames: int
    side: int
    resolution: str


def pack_file(path: Path, out: Path, shape: CropShape, count: int, generator: torch.Generator) -> int:
    """Write crops of a clip or photo to the folder `out`, as FFV1 in .mkv; returns how many.

    Of a clip, `count` crops of each run of `shape.frames` frames; of a photo, `count` moves over it. Half of the crops
    are mirrored, and half run backwards.

    Raises:
        MediaError: the file cannot be read, or a crop cannot be written.
        ShapeError: it is smaller than a crop at this resolution.
    """
    fps, crops = _crops(path, shape, count, generator)
    written = 0
    for written, frames_TCHW in enumerate(crops, start=1):
        name = f"{plain_stem(path)}_{written:04d}.mkv"
        write_video(Video(_mirrored(frames_TCHW, generator), fps), out / name, lossless=True)
    return written


def _crops(path: Path, shape: CropShape, count: int, generator: torch.Generator) -> tuple[float, Iterator[Tensor]]:
    source = open_clip(path, ClipPolicy(resolution=shape.resolution))
    if min(source.height, source.width) < shape.side:
        size = f"{source.width}x{source.height} at resolution {shape.resolution}"
        raise ShapeError(f"{quoted(path)}: {size} holds no crop of {shape.side} pixels; use a smaller `side`")
    if source.info.is_image:
        photo = source.read()[0]
        return PHOTO_FPS, (move_over(photo, shape.frames, shape.side, generator) for _ in range(count))
    return source.fps, _clip_crops(source.chunks(), shape, count, generator)


def _clip_crops(chunks: Iterator[Tensor], shape: CropShape, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`count` crops at random places of every run of frames; a rest that is shorter than a run is left out."""
    held = torch.empty(0)
    for chunk in chunks:
        held = torch.cat([held, chunk]) if len(held) else chunk
        while len(held) >= shape.frames:
            run, held = held[: shape.frames], held[shape.frames :]
            for _ in range(count):
                top, left = (
                    int(torch.randint(size - shape.side + 1, (), generator=generator)) for size in run.shape[2:]
                )
                yield run[:, :, top : top + shape.side, left : left + shape.side]


def move_over(photo_CHW: Tensor, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """A clip of a window that pans, zooms and turns at a constant rate over a photo.

    Args:
        photo_CHW: uint8 (3, H, W), both sides at least `side`.

    Returns:
        uint8 (frames, 3, side, side), sampled bicubically at the photo's own resolution or up to 15 % from it.
    """
    height, width = photo_CHW.shape[1:]
    draw = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    time = torch.linspace(-0.5, 0.5, frames, dtype=torch.float64)
    turn = (2 * draw[0] - 1) * _MAX_TURN * time
    zoom = torch.exp((2 * draw[1] - 1) * _MAX_ZOOM * time)
    direction, speed = 2 * math.pi * draw[2], draw[3] ** 2 * _MAX_SHIFT * side * frames
    shifts = [speed * math.cos(direction) * time, speed * math.sin(direction) * time]
    centres = [draw[4 + axis] * (size - side) + side / 2 for axis, size in enumerate((width, height))]
    offset = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    cos, sin = (f(turn)[:, None, None] * zoom[:, None, None] for f in (torch.cos, torch.sin))
    columns = cos * x - sin * y + (centres[0] + shifts[0])[:, None, None]
    rows = sin * x + cos * y + (centres[1] + shifts[1])[:, None, None]
    grid = torch.stack([2 * columns / width - 1, 2 * rows / height - 1], dim=-1).float()
    photo = to_float(photo_CHW)[None].expand(frames, -1, -1, -1)
    return to_uint8(F.grid_sample(photo, grid, mode="bicubic", padding_mode="reflection", align_corners=False))


def _mirrored(frames_TCHW: Tensor, generator: torch.Generator) -> Tensor:
    in_time, in_space = (torch.rand(2, generator=generator) < 0.5).tolist()
    return frames_TCHW.flip([0] * in_time + [3] * in_space)
