"""The charts of a leaderboard."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.compare.palette import COLOURS, LAYOUT, SYMBOLS, metric_title
from workbench.metrics.measure import METRICS

COSTS = {
    "bits_per_pixel": "bits per pixel",
    "encode_fps": "frames encoded per second",
    "decode_fps": "frames decoded per second",
    "peak_memory_mb": "peak memory (MB)",
}


def trade_off(leaderboard: Sequence[Mapping[str, Any]], metric: str, cost: str) -> go.Figure:
    """One metric against what it costs (a key of COSTS), on a logarithmic axis: one point a model."""
    figure = go.Figure(layout=LAYOUT)
    for index, row in enumerate(leaderboard):
        figure.add_scatter(
            x=[row[cost]],
            y=[row[metric]],
            **_style(row["model"], index, size=13),
            hovertemplate=f"%{{fullData.name}}<br>{COSTS[cost]}: %{{x:.4g}}<br>%{{y:.4g}}<extra></extra>",
        )
    figure.update_xaxes(
        type="log", title_text=COSTS[cost], showline=True, **_log_ticks([row[cost] for row in leaderboard])
    )
    figure.update_yaxes(title_text=metric_title(metric), showline=True)
    return figure


def per_clip(clips: Sequence[Mapping[str, Any]], models: Sequence[str], metric: str) -> go.Figure:
    """One metric on every clip, one series a model; clips in the order of the first model's values."""
    values = {(row["model"], row["clip"]): row.get(metric) for row in clips}
    names = list(dict.fromkeys(row["clip"] for row in clips))
    names.sort(key=_by_first(values, models))
    figure = go.Figure(layout=LAYOUT)
    for index, model in enumerate(models):
        figure.add_scatter(
            x=list(range(1, len(names) + 1)),
            y=[values.get((model, name)) for name in names],
            text=[html.escape(name.rsplit("/", 1)[-1]) for name in names],
            **_style(model, index, size=8),
            hovertemplate="%{text}<br>%{fullData.name}: %{y:.4g}<extra></extra>",
        )
    ticks = {"tickvals": list(range(1, len(names) + 1))} if len(names) <= 20 else {}
    figure.update_xaxes(title_text=f"clips, by {METRICS[metric].label} of the first model", zeroline=False, **ticks)
    figure.update_yaxes(title_text=metric_title(metric), showline=True)
    return figure


def _by_first(values: Mapping[tuple[str, str], float | None], models: Sequence[str]) -> Callable[[str], float]:
    def key(name: str) -> float:
        found = (values.get((model, name)) for model in models)
        return next((value for value in found if value is not None), float("inf"))

    return key


def _style(model: str, index: int, size: int) -> dict[str, Any]:
    marker = {"color": COLOURS[index % len(COLOURS)], "symbol": SYMBOLS[index % len(SYMBOLS)], "size": size}
    # Plotly reads its texts as HTML, and a model's label can hold a file's name.
    return {"name": html.escape(model), "mode": "markers", "marker": marker, "showlegend": True}


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Labelled ticks at 1, 2 and 5 times the powers of ten, with room around the values."""
    positive = [value for value in values if value > 0]
    if not positive:
        return {}
    low, high = math.log10(min(positive)), math.log10(max(positive))
    room = max(0.15, 0.08 * (high - low))
    powers = range(math.floor(low - room) - 1, math.ceil(high + room) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"range": [low - room, high + room], "tickvals": ticks, "ticktext": [f"{tick:,.4g}" for tick in ticks]}
