"""One reconstruction as one HTML page that needs nothing else: Plotly and the picture are inside, it opens offline."""

import base64
import html
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from workbench.compare.figures import metric_curves
from workbench.compare.report_figures import metric_title
from workbench.metrics.measure import Summary, summarise

_TEMPLATE, _STYLE = (Path(__file__).with_name(name) for name in ("clip_report.html", "report.css"))


def clip_html(
    facts: Mapping[str, str],
    warnings: Sequence[str],
    metrics: Mapping[str, Sequence[float]],
    times_s: Sequence[float] | None,
    worst_frame: Path,
    gain: float,
) -> str:
    """The page.

    Args:
        facts: what was done, shown as a list; "Clip" and "Model" are the heading too.
        metrics: name to one value a frame, as `measure` returns them.
        times_s: presentation time of each frame; None for a photo.
        worst_frame: a PNG file with original, reconstruction and difference of the frame of the lowest PSNR.
        gain: how much the difference is amplified in it.
    """
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts.items())
    summary = summarise(metrics)
    worst = summary["psnr"]
    picture = base64.b64encode(worst_frame.read_bytes()).decode()
    figure = metric_curves({facts["Model"]: metrics}, times_s).update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", showlegend=False, margin_t=40
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        subtitle=html.escape(f"{facts['Model']} on {facts['Clip']}"),
        facts=rows,
        warnings="".join(f"<li>{html.escape(warning)}</li>" for warning in warnings),
        table=metric_table(summary, times_s),
        worst=f"Frame {_frame_words(worst.worst_frame, times_s)}, {worst.worst:.2f} dB; "
        f"the difference is shown {gain:g} times as large.",
        picture=f"data:image/png;base64,{picture}",
        plotly=get_plotlyjs(),
        figure=json.dumps(json.loads(figure.to_json())).replace("<", "\\u003c"),
    )


def metric_table(summary: Mapping[str, Summary], times_s: Sequence[float] | None) -> str:
    """HTML: one row a metric, with its mean and its worst frame; `times_s` as in `clip_html`."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(metric_title(name))}</th><td>{one.mean:.4g}</td><td>{one.worst:.4g}</td>'
        f"<td>{_frame_words(one.worst_frame, times_s)}</td></tr>"
        for name, one in summary.items()
    )
    head = "".join(f'<th scope="col">{heading}</th>' for heading in ("Metric", "Mean", "Worst", "at frame"))
    return f'<table class="metrics"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _frame_words(frame: int, times_s: Sequence[float] | None) -> str:
    return f"{frame}" if times_s is None else f"{frame}, at {times_s[frame]:.2f} s"
