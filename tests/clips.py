"""Small clips for tests: smooth moving patterns, and files of them."""

from pathlib import Path

import torch
from reference_weights import formula_clip
from torch import Tensor

from workbench.media.video import Video, to_uint8
from workbench.media.writer import VideoWriter


def moving_frames(num_frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    """uint8 (T, 3, H, W)."""
    return to_uint8(torch.as_tensor(formula_clip(1, num_frames, height, width, seed))[0].transpose(0, 1))


def moving_video(num_frames: int, height: int, width: int, seed: int = 0) -> Video:
    return Video(moving_frames(num_frames, height, width, seed), fps=25.0)


def write_clip(path: Path, num_frames: int, height: int, width: int, seed: int = 0) -> Path:
    """A lossless (.mkv) or H.264 (.mp4) file of a pattern of at most 64 frames, repeated."""
    frames = moving_frames(min(num_frames, 64), height, width, seed)
    with VideoWriter(path, 25.0, lossless=path.suffix == ".mkv") as writer:
        for start in range(0, num_frames, 64):
            writer.write(frames[: num_frames - start])
    return path
