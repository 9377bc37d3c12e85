"""The curves of a training run."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.compare.report_figures import COLOURS

GROUPS: dict[str, tuple[str, ...]] = {
    "PSNR (dB)": ("val_psnr", "train_psnr"),
    "SSIM": ("val_ssim",),
    "LPIPS": ("val_lpips",),
    "Autoencoder's loss": ("nll", "l1", "l2", "rmse", "lpips", "kl", "gen"),
    "Discriminator": ("disc", "real_logits", "fake_logits", "real_accuracy", "fake_accuracy"),
    "Adaptive weight": ("adaptive_weight",),
    "Gradient norm": ("grad_norm", "disc_grad_norm"),
    "Seconds a step": ("step_s", "wait_s"),
    "Memory (GB)": ("memory_gb",),
}
"""Plots from top to bottom, by the names of the figures in a run's log; figures of other names come last."""

_NOT_FIGURES = ("step", "time")
_PLOT_HEIGHT = 190
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # curves that lie on each other can still be told apart


def training_curves(rows: Sequence[Mapping[str, float | None]]) -> go.Figure:
    """One plot for each group of figures over the steps; all plots share the axis of the steps.

    Args:
        rows: entries of a run's log, each with `step` and any figures; None leaves a gap.
    """
    groups = _present(rows)
    count = max(1, len(groups))
    spacing = min(0.06, 0.3 / count)
    figure = make_subplots(count, 1, shared_xaxes=True, vertical_spacing=spacing, subplot_titles=list(groups))
    for row, names in enumerate(groups.values(), start=1):
        for index, name in enumerate(names):
            figure.add_trace(_curve(rows, name, index, row), row=row, col=1)
    for row in range(1, len(groups) + 1):
        axis = figure.get_subplot(row, 1).yaxis
        place = {"y": axis.domain[1], "x": 1.0, "xanchor": "right", "yanchor": "bottom", "orientation": "h"}
        figure.update_layout({_legend(row): place | {"bgcolor": "rgba(0,0,0,0)"}})
    figure.update_annotations(x=0, xanchor="left")  # titles: a plot's legend stands at the right
    figure.update_xaxes(title_text="step", row=count)
    margin = {"l": 60, "r": 20, "t": 40, "b": 50}
    return figure.update_layout(template="plotly_white", height=90 + _PLOT_HEIGHT * count, margin=margin)


def _present(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[str]]:
    """The groups that have figures, with their names in order; the rest together as a group of its own."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _NOT_FIGURES))
    groups = {title: [name for name in members if name in names] for title, members in GROUPS.items()}
    known = {name for members in groups.values() for name in members}
    groups["Other"] = [name for name in names if name not in known]
    return {title: members for title, members in groups.items() if members}


def _curve(rows: Sequence[Mapping[str, float | None]], name: str, index: int, plot: int) -> go.Scatter:
    points = [(row["step"], row[name]) for row in rows if name in row]
    label = html.escape(name)  # Plotly reads its texts as HTML
    return go.Scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=label,
        legend=_legend(plot),
        line={"color": COLOURS[index % len(COLOURS)], "dash": _DASHES[index % len(_DASHES)]},
        mode="lines" if len(points) > 1 else "markers",
        hovertemplate=f"{label} at step %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _legend(plot: int) -> str:
    """Plotly's name of the legend of a plot, counted from 1."""
    return "legend" if plot == 1 else f"legend{plot}"
