"""Clips that are never the same twice: cropped at another scale and place, mirrored, run backwards, recoloured.

Photos become scenes, see `motion`. Everything is drawn from the seed of a request, so a run can be repeated.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.data.motion import coloured, mirrored, moving_scene
from workbench.media.video import to_float, to_uint8


def varied(frames_TCHW: Tensor, num_frames: int, height: int, width: int, seed: int) -> Tensor:
    """Frames of a clip at their own size, or a photo as a single frame, as one of the many clips that they could be.

    Args:
        frames_TCHW: uint8, on any device: `num_frames` of them, or one.

    Returns:
        uint8 (num_frames, 3, height, width), on that device.
    """
    generator = torch.Generator().manual_seed(seed)
    if len(frames_TCHW) < num_frames:
        side = max(height, width)
        photo = _covering(frames_TCHW, side, side)[0]
        clip = moving_scene(photo, num_frames, side, generator)[:, :, :height, :width]
    else:
        clip = _window(_covering(frames_TCHW, height, width), height, width, generator)
    return coloured(mirrored(clip, generator), generator)


def _covering(frames_TCHW: Tensor, height: int, width: int) -> Tensor:
    """The frames, enlarged where they do not cover this size."""
    scale = max(height / frames_TCHW.shape[2], width / frames_TCHW.shape[3])
    if scale <= 1.0:
        return frames_TCHW
    rows, columns = (round(size * scale) for size in frames_TCHW.shape[2:])
    return _resized(frames_TCHW, max(rows, height), max(columns, width))


def _window(frames_TCHW: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A window at a random place, of a size between this and the largest that fits, all alike in the logarithm."""
    rows, columns = frames_TCHW.shape[2:]
    scale, top, left = torch.rand(3, generator=generator).tolist()
    factor = min(rows / height, columns / width) ** scale
    h, w = min(round(height * factor), rows), min(round(width * factor), columns)
    y, x = int(top * (rows - h + 1)), int(left * (columns - w + 1))
    window = frames_TCHW[:, :, y : y + h, x : x + w]
    return window if (h, w) == (height, width) else _resized(window, height, width)


def _resized(frames_TCHW: Tensor, height: int, width: int) -> Tensor:
    x = F.interpolate(to_float(frames_TCHW), (height, width), mode="bilinear", antialias=True)
    return to_uint8(x)
