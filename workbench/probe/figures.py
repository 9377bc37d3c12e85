"""A figure for each probe that is more than a number."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.compare.palette import COLOURS, LAYOUT
from workbench.probe.catalogue import PROBES
from workbench.probe.measure import SpaceProbes

_LAYOUT = LAYOUT | {"margin": {"l": 64, "r": 12, "t": 12, "b": 56}, "height": 340}


def figures_of(spaces: Mapping[str, SpaceProbes]) -> dict[str, tuple[str, go.Figure]]:
    """By heading, a sentence on what to look for and the figure."""
    found = {
        "The best predictors": (
            "VIV and the share of high frequencies, with published values as lines: lower is better.",
            bars(spaces, ("viv", "sec_25", "sec_50", "sec_3d_25")),
        ),
        "Channels": (
            "Eigenvalues of the channels' correlations: a flat line uses all channels alike, a steep one has few real"
            " dimensions.",
            curve_figure(spaces, "eigenvalues", "number of the eigenvalue", "eigenvalue", log=True),
        ),
        **_of_channels(spaces),
        "Frequencies of space": (
            "Mean energy by frequency, latents against the pixels that they stand for: natural pictures fall, white"
            " noise is flat, and what rises or stays flat is expensive to learn.",
            curve_figure(spaces, "space", "frequency, 1 is the highest", "energy", log=True, pixels=True),
        ),
        "Frequencies of time": (
            "The same in time: flat means that neighbouring latents have little to do with each other.",
            curve_figure(spaces, "time", "frequency, 1 is the highest", "energy", log=True, pixels=True),
        ),
        "Neighbours": (
            "Cosine between tokens of a frame by their distance: LDS is the fall from 1 to beyond 6, CDS its slope.",
            curve_figure(spaces, "cosines", "Manhattan distance in latents", "mean cosine"),
        ),
        "What decoding forgives": (
            "PSNR of clips decoded from latents with noise, in deviations of a channel, and with fewer bits a number.",
            curve_figure(spaces, "robustness", "what was done to the latents", "PSNR (dB)"),
        ),
        "Equivariance": (
            "Error of latents of a moved clip against moved latents. Of all probes it predicts least.",
            curve_figure(spaces, "equivariance", "transform", "error over variance"),
        ),
    }
    if any("generator" in space.curves for space in spaces.values()):
        found["The small generator"] = (
            "Its loss on held-out clips over that of a guess which knows no structure, by time from noise to latents:"
            " 1 is nothing learnt.",
            curve_figure(spaces, "generator", "time, 0 is noise", "share of the loss"),
        )
    return found


def _of_channels(spaces: Mapping[str, SpaceProbes]) -> dict[str, tuple[str, go.Figure]]:
    return {
        "Deviations of channels": (
            "What normalising brings to 1. Channels far below the others hold little, and weigh as much afterwards.",
            curve_figure(spaces, "std", "number of the channel", "deviation", log=True),
        ),
        "Means of channels": (
            "In the model's own numbers: what normalising takes away.",
            curve_figure(spaces, "mean", "number of the channel", "mean"),
        ),
        "Kurtosis of channels": (
            "3 for normal values, as white noise has them; more where most are near 0 and a few far away.",
            curve_figure(spaces, "kurtosis", "number of the channel", "kurtosis", log=True),
        ),
    }


def bars(spaces: Mapping[str, SpaceProbes], names: Sequence[str]) -> go.Figure:
    """Some figures of every space beside each other, with what was published as lines."""
    figure = go.Figure(layout=_LAYOUT)
    for index, (label, space) in enumerate(spaces.items()):
        known = [name for name in names if name in space.figures]
        figure.add_bar(
            x=[PROBES[name].label for name in known],
            y=[space.figures[name] for name in known],
            name=html.escape(label),
            marker_color=COLOURS[index % len(COLOURS)],
        )
    for position, name in enumerate(names):
        for mark, value in PROBES[name].marks:
            line = {"color": "#888888", "dash": "dot"}
            figure.add_shape(type="line", x0=position - 0.4, x1=position + 0.4, y0=value, y1=value, line=line)
            figure.add_annotation(x=position + 0.4, y=value, text=mark, showarrow=False, yshift=8, font_size=11)
    figure.update_yaxes(title_text="lower is better", rangemode="tozero", showline=True)
    return figure


def curve_figure(
    spaces: Mapping[str, SpaceProbes], name: str, x_title: str, y_title: str, log: bool = False, pixels: bool = False
) -> go.Figure:
    """One curve of every space, those of frequencies over 0 to 1; with `pixels` that of the frames too."""
    figure = go.Figure(layout=_LAYOUT)
    for index, (label, space) in enumerate(spaces.items()):
        if name in space.curves:
            x, y = _points(name, space.curves[name])
            _add(figure, label, x, y, COLOURS[index % len(COLOURS)])
    if pixels:
        known = next((space.curves["pixels"][name] for space in spaces.values() if "pixels" in space.curves), None)
        if known is not None:
            _add(figure, "pixels", *_points(name, known), "#7F7F7F")
    figure.update_xaxes(title_text=x_title, showline=True)
    figure.update_yaxes(title_text=y_title, showline=True, **({"type": "log"} if log else {}))
    return figure


def _add(figure: go.Figure, label: str, x: Sequence[Any], y: Sequence[float], colour: str) -> None:
    name, hover = html.escape(label), "%{x}: %{y:.4g}"
    if x and isinstance(x[0], str) and not x[0].replace(".", "").isdigit():
        figure.add_bar(x=x, y=y, name=name, marker_color=colour, hovertemplate=hover)
    else:
        figure.add_scatter(
            x=x, y=y, name=name, mode="lines+markers", line_color=colour, hovertemplate=hover, connectgaps=True
        )


def _points(name: str, curve: Any) -> tuple[list[Any], list[float]]:
    """Of a record over its names, of frequencies over their share of the highest, of another list over its numbers."""
    if isinstance(curve, Mapping):
        shares = curve.get("shares", curve)
        return list(shares), list(shares.values())
    if name in ("space", "time"):
        return [index / (len(curve) - 1) for index in range(len(curve))], curve
    return list(range(1, len(curve) + 1)), curve
