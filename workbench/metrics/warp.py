"""Errors that jump from frame to frame along the motion of the original, by optical flow."""

import importlib.util
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import ConfigError
from workbench.metrics.frames import check_pair, undefined

_MIN_SIDE = 32  # pixels; below that OpenCV's pyramid has no level to begin with
_LUMA = (0.299, 0.587, 0.114)


def require_optical_flow() -> None:
    """Raise ConfigError, saying how to install it, unless OpenCV is there."""
    if importlib.util.find_spec("cv2") is None:
        raise ConfigError("`warp_error` needs OpenCV for optical flow: pip install opencv-python-headless")


def warp_error(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """Change of the error along the motion, in grey levels of 0..255; 0 where it sticks to what moves.

    Root mean square of (y_t - W y_(t-1)) - (x_t - W x_(t-1)) over the pixels that are visible in both frames, where W
    warps a frame to the next by the flow of the original x. Flow, visibility (forward and backward flow agree) and
    warping are as in Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, after Ruder et al., "Artistic
    Style Transfer for Videos", 2016. Theirs is the first difference alone, which is not 0 for a perfect copy and which
    blur improves; as in `temporal_error`, the original's own is subtracted. The flow between grey frames is OpenCV's
    DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), preset "fast".

    NaN for the first frame, with a side under 32 pixels, and where no pixel is visible in both.

    Args:
        x, y: the original and the reconstruction, clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,) on the device of x.

    Raises:
        ConfigError: OpenCV is not installed.
    """
    check_pair(x, y)
    require_optical_flow()
    values = undefined(len(x))
    if min(x.shape[2:]) >= _MIN_SIDE:
        flow = _optical_flow()
        for t in range(1, len(x)):
            before, after = (_levels(clip[t - 1 : t + 1].cpu(), data_range) for clip in (x, y))
            values[t] = _error(before, after, flow)
    return values.to(x.device)


def _levels(frames: Tensor, data_range: float) -> Tensor:
    """Frames as float32 in [0, 255]."""
    low = -1.0 if data_range == 2 else 0.0
    return (frames.float() - low) * (255.0 / data_range)


def _error(x: Tensor, y: Tensor, flow: Any) -> Tensor:
    """The value of the second of two frames (2, 3, H, W) in [0, 255]."""
    previous, current = (_grey(frame) for frame in x)
    backward = torch.from_numpy(flow.calc(current, previous, None))
    forward = torch.from_numpy(flow.calc(previous, current, None))
    visible = _visible(backward, forward)
    error = y - x
    change = error[1] - _warp(error[0], backward)
    return change[:, visible].square().mean().sqrt()


def _optical_flow() -> Any:
    cv2: Any = import_module("cv2")  # its stubs lack this name
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _grey(frame: Tensor) -> np.ndarray:
    weights = torch.tensor(_LUMA).view(3, 1, 1)
    return (frame * weights).sum(0).round().clamp(0, 255).to(torch.uint8).numpy()


def _warp(image: Tensor, flow_HW2: Tensor) -> Tensor:
    """image (C, H, W) read, bilinearly, where the flow (x, y) in pixels points from every pixel."""
    height, width = image.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([columns, rows], dim=-1) + flow_HW2
    grid = 2 * points / torch.tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    return F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=True)[0]


def _visible(backward_HW2: Tensor, forward_HW2: Tensor) -> Tensor:
    """Pixels (H, W) that the previous frame shows too: inside it, and the flow from there leads back (Ruder et al.)."""
    height, width = backward_HW2.shape[:2]
    there = _warp(forward_HW2.permute(2, 0, 1), backward_HW2).permute(1, 2, 0)
    gap = (there + backward_HW2).square().sum(-1)
    agree = gap <= 0.01 * (there.square().sum(-1) + backward_HW2.square().sum(-1)) + 0.5
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    column, row = columns + backward_HW2[..., 0], rows + backward_HW2[..., 1]
    inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
    return agree & inside
