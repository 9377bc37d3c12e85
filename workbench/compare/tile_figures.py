"""Pictures of a tile plan: which pixels and frames each tile gives, and where tiles overlap."""

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from workbench.compare.figures import frame_ticks
from workbench.compare.palette import COLOURS
from workbench.errors import ShapeError
from workbench.tiling import AxisPlan, TilePlan

_OVERLAP_COLOUR = (255, 196, 0)
_OVERLAP_OPACITY = 0.3  # of each tile beyond the first that gives a pixel


def tile_picture(frame_CHW: Tensor, plan: TilePlan) -> Tensor:
    """A frame with the outline and number of every tile; pixels that several tiles give are tinted yellow.

    Args:
        frame_CHW: uint8 (3, H, W) of the size that the plan decodes to.

    Raises:
        ShapeError: the frame is not of the plan's size.
    """
    size = plan.height.out_length, plan.width.out_length
    if tuple(frame_CHW.shape) != (3, *size):
        raise ShapeError(f"a plan for frames of {size} is drawn over one (3, H, W), got {tuple(frame_CHW.shape)}")
    tinted = _tint(frame_CHW, coverage(plan))
    image = Image.fromarray(tinted.permute(1, 2, 0).numpy())
    _outline(ImageDraw.Draw(image), plan)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def coverage(plan: TilePlan) -> Tensor:
    """How many tiles of one moment give each pixel, int64 (H, W)."""
    rows, columns = (_axis_coverage(axis) for axis in (plan.height, plan.width))
    return rows[:, None] * columns


def time_figure(axis: AxisPlan) -> go.Figure:
    """One bar for each tile in time, over the frames that it gives."""
    starts = [span.out_start for span in axis.spans]
    lengths = [span.out_stop - span.out_start for span in axis.spans]
    figure = go.Figure(
        go.Bar(
            base=starts,
            x=lengths,
            y=[index + 1 for index in range(len(starts))],
            orientation="h",
            marker_color=[COLOURS[index % len(COLOURS)] for index in range(len(starts))],
            hovertemplate="tile %{y}: frames %{base} to %{customdata}<extra></extra>",
            customdata=[span.out_stop - 1 for span in axis.spans],
        )
    )
    figure.update_xaxes(title_text="frame", range=[0, axis.out_length], **frame_ticks(axis.out_length))
    figure.update_yaxes(title_text="tile in time", autorange="reversed", dtick=max(1, len(starts) // 8))
    height = 130 + min(24 * len(starts), 240)
    return figure.update_layout(template="plotly_white", height=height, margin={"l": 50, "r": 20, "t": 20, "b": 50})


def _axis_coverage(axis: AxisPlan) -> Tensor:
    count = torch.zeros(axis.out_length, dtype=torch.int64)
    for span in axis.spans:
        count[span.out_start : span.out_stop] += 1
    return count


def _tint(frame_CHW: Tensor, count_HW: Tensor) -> Tensor:
    opacity = 1.0 - (1.0 - _OVERLAP_OPACITY) ** (count_HW - 1).float()
    colour = torch.tensor(_OVERLAP_COLOUR, dtype=torch.float32)[:, None, None]
    return torch.lerp(frame_CHW.float().cpu(), colour.expand_as(frame_CHW), opacity).round().to(torch.uint8)


def _outline(draw: ImageDraw.ImageDraw, plan: TilePlan) -> None:
    """Rectangles, every other one a little inside its edge, so that outlines of neighbours lie beside each other."""
    size = min(plan.height.out_length, plan.width.out_length)
    line = max(1, size // 160)
    font = ImageFont.load_default(min(max(size // 16, 10), 40))
    number = 0
    for row, h in enumerate(plan.height.spans):
        for column, w in enumerate(plan.width.spans):
            number += 1
            colour = COLOURS[(row * 2 + column) % len(COLOURS)]
            inset = (line + 1) * ((row + column) % 2)
            low, high = (w.out_start + inset, h.out_start + inset), (w.out_stop - 1 - inset, h.out_stop - 1 - inset)
            if high[0] <= low[0] or high[1] <= low[1]:
                continue
            draw.rectangle((*low, *high), outline=colour, width=line)
            centre = (w.out_start + w.out_stop) // 2, (h.out_start + h.out_stop) // 2
            draw.text(centre, str(number), fill="white", font=font, anchor="mm", stroke_width=2, stroke_fill="black")
