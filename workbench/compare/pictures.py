"""Frames as pictures."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor

from workbench.errors import ShapeError


def picture(frame_CHW: Tensor, scale: int = 1) -> Image.Image:
    """A frame, uint8 (3, H, W), as an image that a notebook shows; each pixel is drawn as `scale` x `scale`.

    Raises:
        ShapeError: it is not one uint8 frame.
    """
    if frame_CHW.ndim != 3 or frame_CHW.shape[0] != 3 or frame_CHW.dtype.itemsize != 1:
        raise ShapeError(f"a picture is a uint8 frame (3, H, W), got {frame_CHW.dtype} {tuple(frame_CHW.shape)}")
    large = frame_CHW.cpu().repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return Image.fromarray(large.permute(1, 2, 0).contiguous().numpy())


def png_url(image: Image.Image, **options: Any) -> str:
    """An image as a data URL that holds all of it, without loss; `options` are Pillow's for PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
