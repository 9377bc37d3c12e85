"""The curves of a training run."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.compare.palette import COLOURS

GROUPS: dict[str, tuple[str, ...]] = {
    "PSNR (dB)": ("val_psnr", "train_psnr"),
    "SSIM": ("val_ssim",),
    "LPIPS": ("val_lpips",),
    "Autoencoder's loss": ("nll", "l1", "l2", "rmse", "temporal", "lpips", "kl", "gen"),
    "Losses on latents": (
        *("scale_equivariance", "equivariance", "masked_reconstruction", "noise", "high_band_dropout"),
        *("local_correlation", "alignment", "alignment_distance", "alignment_cosine"),
    ),
    "Match of the teacher's features": ("distillation",),
    "Discriminator": ("disc", "real_logits", "fake_logits", "real_accuracy", "fake_accuracy"),
    "Adaptive weight": ("adaptive_weight", "alignment_weight"),
    "Gradient norm": ("grad_norm", "disc_grad_norm", "alignment_grad_norm", "distillation_grad_norm"),
    "Learning rate": ("lr",),
    "Seconds a step": ("step_s", "wait_s"),
    "Memory (GB)": ("memory_gb",),
}
"""Plots from top to bottom, by the names of the figures in a run's log; figures of other names come last."""

_NOT_FIGURES = ("step", "total", "time")
_PLOT_HEIGHT = 190
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # curves that lie on each other can still be told apart


def training_curves(
    rows: Sequence[Mapping[str, float | None]] | Mapping[str, Sequence[Mapping[str, float | None]]],
    smoothing: float = 0.0,
) -> go.Figure:
    """One plot for each group of figures over the steps; all plots share the axis of the steps.

    Args:
        rows: entries of a run's log, each with `step` and any figures; None leaves a gap. Or several runs by name,
            whose curves then lie over each other: a colour for each run, a dash for each figure.
        smoothing: from 0 to below 1, the weight of what came before: an exponential mean, without bias at its begin.
    """
    runs = rows if isinstance(rows, Mapping) else {"": rows}
    groups = _present([row for run in runs.values() for row in run])
    count = max(1, len(groups))
    spacing = min(0.06, 0.3 / count)
    figure = make_subplots(count, 1, shared_xaxes=True, vertical_spacing=spacing, subplot_titles=list(groups))
    for plot, names in enumerate(groups.values(), start=1):
        for number, (run, entries) in enumerate(runs.items()):
            for index, name in enumerate(names):
                points = _smoothed([(row["step"] or 0.0, row[name]) for row in entries if name in row], smoothing)
                label, colour = (f"{run}: {name}", number) if len(runs) > 1 else (name, index)
                if points:
                    figure.add_trace(_curve(points, label, colour, index, plot), row=plot, col=1)
    for row in range(1, len(groups) + 1):
        axis = figure.get_subplot(row, 1).yaxis
        place = {"y": axis.domain[1], "x": 1.0, "xanchor": "right", "yanchor": "top", "orientation": "h"}
        figure.update_layout({_legend(row): place | {"bgcolor": "rgba(128,128,128,0.12)", "font_size": 10}})
    figure.update_annotations(x=0, xanchor="left")  # titles; legends stand inside the plots, never over a title
    figure.update_xaxes(title_text="step", row=count)
    margin = {"l": 60, "r": 20, "t": 40, "b": 50}
    return figure.update_layout(template="plotly_white", height=90 + _PLOT_HEIGHT * count, margin=margin)


def _smoothed(points: list[tuple[float, float | None]], smoothing: float) -> list[tuple[float, float | None]]:
    """Steps and values; None stays a gap."""
    mean, weight = 0.0, 0.0
    smooth: list[tuple[float, float | None]] = []
    for step, value in points:
        if value is None:
            smooth.append((step, None))
            continue
        mean = smoothing * mean + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        smooth.append((step, mean / weight))
    return smooth


def _present(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[str]]:
    """The groups that have figures, with their names in order; the rest together as a group of its own."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _NOT_FIGURES))
    groups = {title: [name for name in members if name in names] for title, members in GROUPS.items()}
    known = {name for members in groups.values() for name in members}
    groups["Other"] = [name for name in names if name not in known]
    return {title: members for title, members in groups.items() if members}


def _curve(points: list[tuple[float, float | None]], label: str, colour: int, dash: int, plot: int) -> go.Scatter:
    name = html.escape(label)  # Plotly reads its texts as HTML
    return go.Scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=name,
        legend=_legend(plot),
        line={"color": COLOURS[colour % len(COLOURS)], "dash": _DASHES[dash % len(_DASHES)]},
        mode="lines" if len(points) > 1 else "markers",
        hovertemplate=f"{name} at step %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _legend(plot: int) -> str:
    """Plotly's name of the legend of a plot, counted from 1."""
    return "legend" if plot == 1 else f"legend{plot}"
