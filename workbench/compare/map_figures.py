"""Maps over a frame beside each other: errors, gradients, influences."""

import html
from collections.abc import Mapping

import plotly.graph_objects as go
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import Tensor

_MAX_CELLS = 240  # of a map's longer side, so that a page stays a few hundred kilobytes


def map_figure(maps: Mapping[str, Tensor], unit: str = "") -> go.Figure:
    """Maps (H, W) of any sizes from left to right, each under its label, all on one colour scale.

    Large maps are averaged over square cells, so that the longer side has at most 240; axes count the map's own cells.

    Args:
        unit: of the values, shown at the colour scale.
    """
    figure = make_subplots(1, len(maps), subplot_titles=[html.escape(label) for label in maps], horizontal_spacing=0.03)
    for column, values_HW in enumerate(maps.values(), start=1):
        figure.add_trace(_heatmap(values_HW), row=1, col=column)
        y = figure.get_subplot(1, column).yaxis
        y.update(autorange="reversed", scaleanchor=figure.get_subplot(1, column).yaxis.anchor, constrain="domain")
    figure.update_xaxes(constrain="domain")
    figure.update_yaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=True, col=1)
    height, width = next(iter(maps.values())).shape
    low, high = min(trace.z.min() for trace in figure.data), max(trace.z.max() for trace in figure.data)
    bar = {"orientation": "h", "thickness": 12, "y": -0.12, "yanchor": "top", "title": {"text": unit, "side": "bottom"}}
    scale = {"colorscale": "Inferno", "colorbar": bar}  # below the maps: beside them it would be taller than they are
    figure.update_layout(
        # With a range, because Plotly finds none of its own for very small values.
        coloraxis=scale | {"cmin": low, "cmax": high if high > low else low + 1},
        template="plotly_white",
        height=min(600, 180 + round(900 / len(maps) * height / width)),
        margin={"l": 40, "r": 10, "t": 40, "b": 90},
    )
    return figure


def _heatmap(values_HW: Tensor) -> go.Heatmap:
    cell = -(-max(values_HW.shape) // _MAX_CELLS)
    cells = F.avg_pool2d(values_HW[None, None].detach().float().cpu(), cell, ceil_mode=True)[0, 0]
    place = {"x0": (cell - 1) / 2, "dx": cell, "y0": (cell - 1) / 2, "dy": cell}
    hover = "x %{x:.0f}, y %{y:.0f}: %{z:.3g}<extra></extra>"
    return go.Heatmap(z=cells.numpy(), **place, coloraxis="coloraxis", hovertemplate=hover)
