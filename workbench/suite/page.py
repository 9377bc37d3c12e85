"""The fault suite as one HTML page that needs nothing else."""

import html
import json
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from workbench.compare.palette import COLOURS, LAYOUT
from workbench.suite.measure import FIGURES, shown, verdict

_TEMPLATE = Path(__file__).with_name("suite.html")
_STYLE, _DRAW = (Path(__file__).parents[1] / "compare" / name for name in ("report.css", "charts.js"))
_LAYOUT = LAYOUT | {"margin": {"l": 64, "r": 12, "t": 12, "b": 56}, "height": 340}
PAGE = "faults.html"
"""Its file, which the leaderboard beside it links to."""

_DASHES = ("solid", "dash", "dot")

DRIFTS = {
    "psnr": ("What is left", "PSNR to the original (dB)"),
    "contrast": ("Contrast", "deviation over the original's"),
    "red": ("Red", "mean over the original's (levels)"),
    "green": ("Green", "mean over the original's (levels)"),
    "blue": ("Blue", "mean over the original's (levels)"),
}
"""Heading and axis of the figure of each value of a round."""

Models = Mapping[str, Mapping[str, Any]]
"""`run.ModelFaults` as plain values, by label."""


def suite_html(models: Models) -> str:
    """The page: a table of all figures, and the curves of the rounds."""
    has_rounds = any(one["rounds"] for one in models.values())
    figures = {heading: rounds_figure(models, key) for key, (heading, _) in DRIFTS.items()} if has_rounds else {}
    charts = "".join(
        f'<h3>{html.escape(heading)}</h3><div class="card chart"><div id="figure-{index}"></div></div>'
        for index, heading in enumerate(figures)
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        subtitle=", ".join(map(html.escape, models)),
        table=f"<table>{faults_table(models)}</table>",
        charts=charts or "<p>No rounds were asked for.</p>",
        left_out="".join(_left_out(models)),
        plotly=get_plotlyjs(),
        draw=_DRAW.read_text(encoding="utf-8"),
        figures=json.dumps([json.loads(figure.to_json()) for figure in figures.values()]).replace("</", "<\\/"),
    )


def rounds_figure(models: Models, key: str) -> go.Figure:
    """One value of the rounds as curves: a colour a model, a dash a way to run it."""
    figure = go.Figure()
    for number, (label, one) in enumerate(models.items()):
        for way, dash in zip(one["rounds"], _DASHES, strict=False):
            figure.add_scatter(
                x=[row["number"] for row in one["rounds"][way]],
                y=[row[key] for row in one["rounds"][way]],
                name=f"{label}, {way}",
                line={"color": COLOURS[number % len(COLOURS)], "dash": dash},
            )
    return figure.update_layout(
        **_LAYOUT, xaxis={"title": {"text": "rounds"}}, yaxis={"title": {"text": DRIFTS[key][1]}}
    )


def faults_table(models: Models) -> str:
    """The rows of the table, a figure each."""
    head = "".join(f"<th>{html.escape(label)}</th>" for label in models)
    rows = []
    for name, figure in FIGURES.items():
        values = [one["figures"][name] for one in models.values() if name in one["figures"]]
        cells = "".join(_cell(name, value) for value in values)
        rows += [] if not values else [f"<tr><th>{figure.label}<br><small>{figure.words}</small></th>{cells}</tr>"]
    return f"<tr><th>Figure</th>{head}</tr>{''.join(rows)}"


def _cell(name: str, value: float) -> str:
    said = verdict(name, value)
    words = f"<br><small>{said}</small>" if said in ("odd", "bad") else ""
    return f'<td class="{said}">{shown(name, value)}{words}</td>'


def _left_out(models: Models) -> Iterator[str]:
    for label, one in models.items():
        for way, reason in one["left_out"].items():
            yield f"<p>{html.escape(label)}, {way}: left out, {html.escape(reason)}</p>"
