"""Frames to another size."""

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import ShapeError
from workbench.media.resolution import Resize

_PIXELS_AT_ONCE = 1 << 24


def apply_resize(frames_TCHW: Tensor, plan: Resize, crop_offset: tuple[int, int] | None = None) -> Tensor:
    """Resize with antialiased bilinear filtering, then crop.

    Args:
        frames_TCHW: uint8 frames on the CPU, (T, C, H, W).
        plan: what to do.
        crop_offset: (top, left) of the crop in the resized frame; the centre if None.

    Returns:
        uint8, (T, C, plan.crop_height, plan.crop_width), contiguous.

    Raises:
        ShapeError: `frames_TCHW` is not a 4-dimensional uint8 tensor, or the crop lies outside the frame.
    """
    if frames_TCHW.ndim != 4 or frames_TCHW.dtype != torch.uint8:
        raise ShapeError(f"frames must be uint8 (T, C, H, W), not {frames_TCHW.dtype} {tuple(frames_TCHW.shape)}")
    slack = plan.height - plan.crop_height, plan.width - plan.crop_width
    top, left = crop_offset or (slack[0] // 2, slack[1] // 2)
    if not (0 <= top <= slack[0] and 0 <= left <= slack[1]):
        raise ShapeError(f"a crop at {(top, left)} leaves the frame: {plan}")
    out = frames_TCHW.new_empty(*frames_TCHW.shape[:2], plan.crop_height, plan.crop_width)
    # Some frames at a time: the resized, uncropped frames never exist all at once.
    step = max(1, _PIXELS_AT_ONCE // (plan.height * plan.width))
    for start in range(0, len(frames_TCHW), step):
        resized = _interpolate(frames_TCHW[start : start + step], plan)
        out[start : start + step] = resized[:, :, top : top + plan.crop_height, left : left + plan.crop_width]
    return out


def _interpolate(frames_TCHW: Tensor, plan: Resize) -> Tensor:
    if frames_TCHW.shape[-2:] == (plan.height, plan.width):
        return frames_TCHW
    return F.interpolate(frames_TCHW, (plan.height, plan.width), mode="bilinear", antialias=True)
