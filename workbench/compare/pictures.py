"""Frames as pictures that notebooks show, and a wipe between two of them."""

import base64
import io
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from PIL import Image
from torch import Tensor

from workbench.errors import ShapeError
from workbench.media.video import to_uint8

_WIPE_STEPS = 24


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


def first_frames(clips: Mapping[str, Tensor], scale: int = 1) -> dict[str, Tensor]:
    """The first frame of the first clip of each batch, for `side_by_side` and `grid`.

    Args:
        clips: label to floats (B, 3, T, H, W), nominally in [-1, 1].
        scale: each pixel is drawn as `scale` x `scale`.

    Returns:
        Label to uint8 (1, 3, H * scale, W * scale).
    """
    frames = {label: to_uint8(x[:1, :, 0].detach()) for label, x in clips.items()}
    return {label: x.repeat_interleave(scale, 2).repeat_interleave(scale, 3) for label, x in frames.items()}


def wipe_figure(original_CHW: Tensor, output_CHW: Tensor) -> go.Figure:
    """Two frames over each other, uint8 (3, H, W), with a slider that moves the border between them.

    Left of the border is the original, right of it the output; both at full size, without lossy compression.

    Raises:
        ShapeError: the frames are not of one shape.
    """
    if original_CHW.shape != output_CHW.shape:
        raise ShapeError(f"a wipe takes two frames of one shape, got {original_CHW.shape} and {output_CHW.shape}")
    height, width = original_CHW.shape[1:]
    edges = [round(step * width / _WIPE_STEPS) for step in range(_WIPE_STEPS + 1)]
    strips = [(left, right) for left, right in pairwise(edges) if right > left]
    figure = go.Figure(_image(original_CHW, 0))
    for left, right in strips:
        figure.add_trace(_image(output_CHW[:, :, left:right], left))
    steps = [_wipe_step(border, left, len(strips)) for border, left in enumerate([*(s[0] for s in strips), width])]
    half = len(strips) // 2
    figure.update_traces(hoverinfo="skip")
    for trace, visible in zip(figure.data, steps[half]["args"][0]["visible"], strict=True):
        trace.visible = visible
    slider = {"active": half, "steps": steps, "currentvalue": {"prefix": "border at x = "}, "pad": {"t": 10}}
    figure.update_xaxes(visible=False, range=[0, width], constrain="domain")
    figure.update_yaxes(visible=False, range=[height, 0], scaleanchor="x", constrain="domain")
    return figure.update_layout(
        sliders=[slider], template="plotly_white", height=560, margin={"l": 10, "r": 10, "t": 10, "b": 10}
    )


def _wipe_step(border: int, left: int, strips: int) -> dict:
    """One place of the slider: the original, which lies below, and the output's strips from number `border` on."""
    visible = [True] + [strip >= border for strip in range(strips)]
    return {"method": "restyle", "args": [{"visible": visible}], "label": str(left)}


def _image(frame_CHW: Tensor, left: int) -> go.Image:
    """A trace that draws a frame's pixels from column `left` on; its source is a PNG."""
    return go.Image(source=png_url(picture(frame_CHW)), x0=left + 0.5, y0=0.5, dx=1, dy=1)
