"""Cutting clips and photos into many small, losslessly stored crops: quick to decode, ready to train on.

Training on crops of full-size clips decodes and resizes far more pixels than it uses. A pack does that once. Photos
become clips too, see `motion`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.data.motion import coloured, mirrored, move_over, moving_scene
from workbench.errors import ShapeError
from workbench.files import plain_stem, quoted
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.media.video import Video
from workbench.media.writer import write_video

PHOTO_FPS = 24.0


@dataclass(frozen=True)
class CropShape:
    """What every crop is.

    Attributes:
        frames, side: its frames, and its height and width in pixels.
        resolution: see `workbench.media.resolution`; what it is cut from.
        vary: colours vary from crop to crop, and photos become scenes, see `motion.moving_scene`.
    """

    frames: int
    side: int
    resolution: str
    vary: bool = False


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
        frames_TCHW = mirrored(frames_TCHW, generator)
        if shape.vary:
            frames_TCHW = coloured(frames_TCHW, generator)
        write_video(Video(frames_TCHW, fps), out / name, lossless=True)
    return written


def _crops(path: Path, shape: CropShape, count: int, generator: torch.Generator) -> tuple[float, Iterator[Tensor]]:
    source = open_clip(path, ClipPolicy(resolution=shape.resolution))
    if min(source.height, source.width) < shape.side:
        size = f"{source.width}x{source.height} at resolution {shape.resolution}"
        raise ShapeError(f"{quoted(path)}: {size} holds no crop of {shape.side} pixels; use a smaller `side`")
    if source.info.is_image:
        photo = source.read()[0]
        move = moving_scene if shape.vary else move_over
        return PHOTO_FPS, (move(photo, shape.frames, shape.side, generator) for _ in range(count))
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
