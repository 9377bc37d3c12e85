"""What was found as tables and as one HTML page that needs nothing else."""

import html
import json
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from workbench.files import write_csv, write_json, write_text
from workbench.probe.catalogue import PROBES
from workbench.probe.figures import figures_of
from workbench.probe.run import Probed

_TEMPLATE = Path(__file__).with_name("probe.html")
_STYLE, _DRAW = (Path(__file__).parents[1] / "compare" / name for name in ("report.css", "charts.js"))


def write_probes(probed: Probed, folder: Path) -> list[dict[str, Any]]:
    """Write probes.csv, probes.json and probes.html; returns the rows, one a latent space.

    Raises:
        FileError: a file cannot be written.
    """
    rows = list(probe_rows(probed))
    write_csv(folder / "probes.csv", rows)
    spaces = {label: space.record() for label, space in probed.spaces.items()}
    failures = [
        {"model": label, "clip": str(clip), "reason": reason} for (label, clip), reason in probed.failures.items()
    ]
    record = {"policy": probed.policy, "clips": probed.clips, "spaces": spaces, "failures": failures}
    write_json(folder / "probes.json", record)
    write_text(folder / "probes.html", probes_html(probed))
    return rows


def probe_rows(probed: Probed) -> Iterator[dict[str, Any]]:
    """One row a latent space, probes in the order of what they are known to predict."""
    for label, space in probed.spaces.items():
        yield {"model": label, **{name: space.figures[name] for name in PROBES if name in space.figures}}


def probes_html(probed: Probed) -> str:
    """The page."""
    figures = figures_of(probed.spaces)
    charts = "".join(
        f'<h2>{html.escape(heading)}</h2><p>{html.escape(words)}</p><div class="card chart">'
        f'<div id="figure-{index}"></div></div>'
        for index, (heading, (words, _)) in enumerate(figures.items())
    )
    plain = [json.loads(figure.to_json()) for _, figure in figures.values()]
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        subtitle=f"{probed.told_clips}, {', '.join(html.escape(label) for label in probed.spaces)}",
        failures=_failures(probed),
        table=f"<table>{probe_table(probed)}</table>",
        charts=charts,
        policy="".join(f"<dt>{html.escape(n)}</dt><dd>{html.escape(str(v))}</dd>" for n, v in _facts(probed).items()),
        plotly=get_plotlyjs(),
        draw=_DRAW.read_text(encoding="utf-8"),
        figures=json.dumps(plain).replace("<", "\\u003c"),
    )


def probe_table(probed: Probed) -> str:
    """HTML of what stands inside a table: a row a probe, a column a space, beside what was published."""
    labels = list(probed.spaces)
    head = "".join(f'<th scope="col">{html.escape(label)}</th>' for label in (*labels, "published", "|r|"))
    rows = ""
    for name, one in PROBES.items():
        values = {label: probed.spaces[label].figures.get(name) for label in labels}
        if not any(value is not None for value in values.values()):
            continue
        arrow = "" if one.lower_is_better is None else " ↓" if one.lower_is_better else " ↑"
        note = f'<br><span class="dim">{html.escape(one.note)}</span>' if one.note else ""
        marks = ", ".join(f"{value:g} {words}" for words, value in one.marks)
        cells = [*(_number(value) for value in values.values()), html.escape(marks), _number(one.correlation)]
        title = f'<th scope="row">{html.escape(one.label)}{arrow}{note}</th>'
        rows += f"<tr>{title}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    return f'<thead><tr><th scope="col">Probe</th>{head}</tr></thead><tbody>{rows}</tbody>'


def _facts(probed: Probed) -> Mapping[str, Any]:
    seconds = {
        f"Seconds of {label}": ", ".join(f"{name} {value:.2g}" for name, value in space.seconds.items())
        for label, space in probed.spaces.items()
    }
    return {**{name: "as it is" if value is None else value for name, value in probed.policy.items()}, **seconds}


def _failures(probed: Probed) -> str:
    lines = [f"left out: {label}, {clip.name}: {reason}" for (label, clip), reason in probed.failures.items()]
    lines += [f"{label}: {note}" for label, space in probed.spaces.items() for note in space.notes]
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.4g}"
