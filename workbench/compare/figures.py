"""Plotly figures of what was lost."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.compare.palette import COLOURS, metric_title
from workbench.metrics.measure import METRICS

_MAX_FRAMES_WITH_TICKS = 10  # each with one of its own; more get fewer, at whole numbers in any case


def metric_curves(
    reconstructions: Mapping[str, Mapping[str, Sequence[float]]], timestamps_s: Sequence[float] | None = None
) -> go.Figure:
    """One plot per metric over the frames, one line per reconstruction; all plots share the axis of the frames.

    Args:
        reconstructions: label to per-frame metrics by name, as `measure` returns them. NaN leaves a gap.
        timestamps_s: shown beside the frame's number on hovering, where given.
    """
    present = [name for name in METRICS if any(name in metrics for metrics in reconstructions.values())]
    titles = [metric_title(name) for name in present]
    figure = make_subplots(max(1, len(present)), 1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=titles)
    for index, (label, metrics) in enumerate(reconstructions.items()):
        colour = COLOURS[index % len(COLOURS)]
        for row, name in enumerate(present, start=1):
            if name in metrics:
                curve = _curve(label, metrics[name], timestamps_s, colour, show_legend=name == next(iter(metrics)))
                figure.add_trace(curve, row=row, col=1)
    figure.update_xaxes(**frame_ticks(max((len(trace.x) for trace in figure.data), default=0)))
    figure.update_xaxes(title_text="frame", row=max(1, len(present)))
    figure.update_layout(
        height=90 + 170 * max(1, len(present)),
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        template="plotly_white",
        hovermode="x unified",
    )
    return figure


def frame_ticks(num_frames: int) -> dict[str, int]:
    """What an axis of frames needs so that its ticks stand at whole frames: Plotly halves those of short clips."""
    return {"dtick": 1} if num_frames <= _MAX_FRAMES_WITH_TICKS else {}


def _curve(
    label: str, values: Sequence[float], timestamps_s: Sequence[float] | None, colour: str, show_legend: bool
) -> go.Scatter:
    name = html.escape(label)  # Plotly reads its texts as HTML, and a label can hold a file's name
    time = "" if timestamps_s is None else " at %{customdata:.2f} s"
    return go.Scatter(
        connectgaps=True,  # metrics of every n-th frame
        x=list(range(len(values))),
        y=list(values),
        customdata=timestamps_s,
        name=name,
        legendgroup=name,
        showlegend=show_legend,
        line_color=colour,
        mode="lines" if len(values) > 1 else "markers",
        hovertemplate=f"%{{y:.4g}}{time}",
    )
