"""Reconstructions as one HTML page that needs nothing else: Plotly and pictures are inside, it opens offline."""

import base64
import html
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plotly.offline import get_plotlyjs

from workbench.compare.figures import metric_curves
from workbench.compare.palette import SEE_THROUGH, metric_title
from workbench.compare.report_tables import number
from workbench.metrics.measure import METRICS, summarise

_TEMPLATE, _STYLE = (Path(__file__).with_name(name) for name in ("clip_report.html", "report.css"))


@dataclass(frozen=True)
class Reported:
    """One reconstruction, as a report shows it.

    Attributes:
        facts: what was done, shown as a list; "Clip" and "Model" are headings too.
        metrics: name to one value a frame, as `measure` returns them.
        spreads: name to mean, median, what one frame in twenty is worse than, and worst value.
        times_s: presentation time of each frame; None for a photo.
        worst_frame: a PNG file with original, reconstruction and difference of the frame of the lowest PSNR.
    """

    facts: Mapping[str, str]
    warnings: Sequence[str]
    metrics: Mapping[str, Sequence[float]]
    spreads: Mapping[str, tuple[float, float, float, float]]
    times_s: Sequence[float] | None
    worst_frame: Path

    @property
    def model(self) -> str:
        return self.facts["Model"]


def clip_html(results: Sequence[Reported], gain: float) -> str:
    """The page of one result or more; those of one clip stand in one table and one chart.

    Args:
        gain: how much the difference is amplified in the pictures.
    """
    clips = dict.fromkeys(result.facts["Clip"] for result in results)
    groups = [[result for result in results if result.facts["Clip"] == clip] for clip in clips]
    figures = [_figure(group) for group in groups]
    models = dict.fromkeys(result.model for result in results)
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        title="What the autoencoder lost" if len(models) == 1 else "What the autoencoders lost",
        subtitle=html.escape(f"{', '.join(models)} on {'; '.join(clips)}"),
        sections="".join(_section(group, gain) for group in groups),
        plotly=get_plotlyjs(),
        figures=json.dumps(figures).replace("<", "\\u003c"),
    )


def _section(group: Sequence[Reported], gain: float) -> str:
    """What is known of one clip."""
    return (
        f"<h2>{html.escape(group[0].facts['Clip'])}</h2>"
        f'<div class="card scroll" tabindex="0" role="region" aria-label="Metrics">{_table(group)}</div>'
        '<h3>Frame by frame</h3><div class="card chart"><div class="plot"></div></div>'
        f"<h3>Worst frames</h3>{''.join(_worst(result, gain) for result in group)}"
        f"<h3>How it was made</h3>{''.join(_facts(result) for result in group)}"
    )


def _table(group: Sequence[Reported]) -> str:
    """One row a metric and result: mean, median, one in twenty, and the worst frame."""
    rows = []
    for name in METRICS:
        for result in group:
            if name in result.spreads:
                cells = "".join(f"<td>{number(value)}</td>" for value in result.spreads[name])
                title, model = html.escape(metric_title(name)), html.escape(result.model)
                frame = _frame_words(summarise({name: result.metrics[name]})[name].worst_frame, result.times_s)
                rows.append(f'<tr><th scope="row">{title}</th><td>{model}</td>{cells}<td>{frame}</td></tr>')
    headings = ("Metric", "Model", "Mean", "Median", "One in twenty is worse than", "Worst", "at frame")
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return f'<table class="metrics"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _worst(result: Reported, gain: float) -> str:
    worst = summarise(result.metrics)["psnr"]
    picture = base64.b64encode(result.worst_frame.read_bytes()).decode()
    words = (
        f"{html.escape(result.model)}: frame {_frame_words(worst.worst_frame, result.times_s)}, {worst.worst:.2f} dB; "
        f"the difference is shown {gain:g} times as large."
    )
    alt = "Original, reconstruction and difference of the worst frame"
    return f'<p>{words}</p><figure><img src="data:image/png;base64,{picture}" alt="{alt}"></figure>'


def _facts(result: Reported) -> str:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in result.facts.items())
    warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in result.warnings)
    return f'<dl class="card">{rows}</dl><ul>{warnings}</ul>'


def _figure(group: Sequence[Reported]) -> dict:
    named = [f"{result.model} ({index + 1})" for index, result in enumerate(group)]
    models = [result.model for result in group]
    labels = models if len(set(models)) == len(models) else named
    curves = dict(zip(labels, (result.metrics for result in group), strict=True))
    figure = metric_curves(curves, group[0].times_s).update_layout(SEE_THROUGH)
    return json.loads(figure.update_layout(margin_t=40, showlegend=len(group) > 1).to_json())


def _frame_words(frame: int, times_s: Sequence[float] | None) -> str:
    return f"{frame}" if times_s is None else f"{frame}, at {times_s[frame]:.2f} s"
