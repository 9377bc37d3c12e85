"""Figures of what is inside a model: where operations and parameters are, and what its branches add."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.compare.palette import COLOURS
from workbench.course.trace import Part


def cost_figure(parts: Sequence[Part]) -> go.Figure:
    """Operations and parameters of every stage of a model, split by kind of part, from the input at the top down."""
    kinds = list(dict.fromkeys(part.kind for part in parts))
    stages = list(dict.fromkeys(part.stage for part in parts))
    titles = ["operations (GFLOP)", "parameters (millions)"]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    for index, kind in enumerate(kinds):
        for column, values in enumerate(_by_stage(parts, kind, stages), start=1):
            bar = go.Bar(
                x=values,
                y=stages,
                name=kind,
                legendgroup=kind,
                showlegend=column == 1,
                orientation="h",
                marker_color=COLOURS[index % len(COLOURS)],
                hovertemplate=f"%{{y}}, {kind}: %{{x:.4g}}<extra></extra>",
            )
            figure.add_trace(bar, row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    legend = {"orientation": "h", "y": -0.08}
    margin = {"l": 150, "r": 20, "t": 40, "b": 60}
    return figure.update_layout(
        barmode="stack", template="plotly_white", height=160 + 22 * len(stages), legend=legend, margin=margin
    )


def branch_figure(models: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """What each residual branch adds (see `branch_shares`), one line a model, in the order of the pass."""
    figure = go.Figure()
    for index, (label, shares) in enumerate(models.items()):
        figure.add_scatter(
            x=list(range(1, len(shares) + 1)),
            y=list(shares.values()),
            text=list(shares),
            name=html.escape(label),
            mode="lines+markers",
            line_color=COLOURS[index % len(COLOURS)],
            hovertemplate="%{text}: %{y:.2f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title_text="block, in the order of the pass")
    figure.update_yaxes(title_text="rms(branch) / rms(sum)", rangemode="tozero")
    return figure.update_layout(template="plotly_white", height=340, margin={"l": 60, "r": 20, "t": 20, "b": 50})


def _by_stage(parts: Sequence[Part], kind: str, stages: Sequence[str]) -> tuple[list[float], list[float]]:
    """Operations in 1e9 and parameters in 1e6 of one kind of part, for each stage."""
    chosen = [[part for part in parts if (part.kind, part.stage) == (kind, stage)] for stage in stages]
    operations = [sum(part.operations for part in members) / 1e9 for members in chosen]
    return operations, [sum(part.parameters for part in members) / 1e6 for members in chosen]
