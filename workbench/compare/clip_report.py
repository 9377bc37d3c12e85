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
from workbench.metrics import summarise

_TEMPLATE, _STYLE = (Path(__file__).with_name(name) for name in ("clip_report.html", "report.css"))


def clip_html(
    facts: Mapping[str, str],
    warnings: Sequence[str],
    metrics: Mapping[str, Sequence[float]],
    worst_frame: Path,
    gain: float,
) -> str:
    """The page.

    Args:
        facts: what was done, shown as a list; "Clip" and "Model" are the heading too.
        metrics: name to one value a frame, as `measure` returns them.
        worst_frame: a PNG file with original, reconstruction and difference of the frame of the lowest PSNR.
        gain: how much the difference is amplified in it.
    """
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts.items())
    worst = summarise({"psnr": metrics["psnr"]})["psnr"]
    picture = base64.b64encode(worst_frame.read_bytes()).decode()
    figure = metric_curves({facts["Model"]: metrics}).update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", showlegend=False, margin_t=40
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        subtitle=html.escape(f"{facts['Model']} on {facts['Clip']}"),
        facts=rows,
        warnings="".join(f"<li>{html.escape(warning)}</li>" for warning in warnings),
        table=_table(metrics),
        worst=f"Frame {worst.worst_frame}, {worst.worst:.2f} dB; the difference is shown {gain:g} times as large.",
        picture=f"data:image/png;base64,{picture}",
        plotly=get_plotlyjs(),
        figure=json.dumps(json.loads(figure.to_json())).replace("<", "\\u003c"),
    )


def _table(metrics: Mapping[str, Sequence[float]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(metric_title(name))}</th><td>{one.mean:.4g}</td><td>{one.worst:.4g}</td>'
        f"<td>{one.worst_frame}</td></tr>"
        for name, one in summarise(metrics).items()
    )
    head = "".join(f'<th scope="col">{heading}</th>' for heading in ("Metric", "Mean", "Worst", "at frame"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
