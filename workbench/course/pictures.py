"""Pictures of frames that a notebook shows: a wipe, a difference, slices through time."""

from collections.abc import Mapping
from itertools import pairwise

import plotly.graph_objects as go
import torch.nn.functional as F
from torch import Tensor

from workbench.compare.grid import grid
from workbench.compare.pictures import picture, png_url
from workbench.errors import ShapeError
from workbench.media.video import to_uint8

_WIPE_STEPS = 24
_MIN_HEIGHT = 96  # pixels that a slice of few frames is stretched to
_MAX_CELLS = 320  # of a heatmap's longer side, so that a page stays a few hundred kilobytes


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


def xt_picture(slices: Mapping[str, Tensor]) -> Tensor:
    """Slices of one row of several clips under each other, each under its label: x to the right, time downwards.

    Short clips are stretched in time by a whole number, so that every frame is a band of equal height.

    Args:
        slices: label to (3, T, W) of one shape, as `xt_slice` makes them.

    Returns:
        uint8 (3, height, width), without interpolation.
    """
    stretch = max(1, -(-_MIN_HEIGHT // next(iter(slices.values())).shape[1]))
    bands = {label: one.repeat_interleave(stretch, dim=1)[None] for label, one in slices.items()}
    return grid(bands, columns=1)[0]


def difference_heatmap(original_CHW: Tensor, output_CHW: Tensor) -> go.Figure:
    """Where one frame differs: the absolute difference in grey levels, averaged over R, G and B.

    Large frames are averaged over square cells of pixels, so that the longer side has at most 320 cells; axes are in
    pixels of the frame. The colour scale begins at 0 and ends at the largest cell.

    Args:
        original_CHW, output_CHW: uint8 (3, H, W).

    Raises:
        ShapeError: the frames do not have one shape (3, H, W).
    """
    if original_CHW.shape != output_CHW.shape or original_CHW.ndim != 3:
        shapes = f"{tuple(original_CHW.shape)} and {tuple(output_CHW.shape)}"
        raise ShapeError(f"a difference is taken of two frames (3, H, W) of one shape, got {shapes}")
    difference_HW = (original_CHW.float() - output_CHW.float()).abs().mean(0)
    cell = -(-max(difference_HW.shape) // _MAX_CELLS)
    cells = F.avg_pool2d(difference_HW[None, None], cell, ceil_mode=True)[0, 0]
    heatmap = go.Heatmap(
        z=cells.cpu().numpy().round(2),
        x0=(cell - 1) / 2,
        dx=cell,
        y0=(cell - 1) / 2,
        dy=cell,
        zmin=0,
        colorscale="Inferno",
        colorbar_title="grey levels",
        hovertemplate="x %{x:.0f}, y %{y:.0f}: %{z:.1f} grey levels<extra></extra>",
    )
    figure = go.Figure(heatmap, layout={"template": "plotly_white", "margin": {"l": 40, "r": 10, "t": 30, "b": 40}})
    figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_xaxes(constrain="domain")
    return figure
