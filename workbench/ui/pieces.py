"""Small pieces of HTML that the tabs share. Everything that comes from outside is escaped here."""

import html
import math

import plotly.graph_objects as go

from workbench.compare.clip_report import metric_table
from workbench.jobs.reconstruct import JobResult
from workbench.metrics.lpips import lpips_available
from workbench.roundtrip.progress import MEASURE, WRITE, ProgressMeter
from workbench.steps import Progress
from workbench.ui.estimate import compression_words, time_words

WAITING = '<div class="status" role="status">Waiting for its turn.</div>'
PREPARING = '<div class="status" role="status">Loading the model and looking the clip over.</div>'
CANCELLED = '<div class="status" role="status">Cancelled. Nothing was kept.</div>'
NOT_STARTED = (
    '<div class="status error" role="alert">The job could not start: too many are waiting, or a value was not '
    "accepted. Try again in a moment.</div>"
)
CRASHED = (
    '<div class="status error" role="alert">Something went wrong that should not have: the app\'s log tells more. '
    "You can start again.</div>"
)

_GREY = "#7d7d7d"


def error(message: str) -> str:
    """A message that a screen reader speaks at once."""
    return f'<div class="status error" role="alert">{html.escape(message)}</div>'


def progress(meter: ProgressMeter) -> str:
    """A progress bar, what is being done and, once it can be told, the time left; at first the frames counted."""
    latest = meter.latest
    if latest is None:
        return PREPARING
    if latest.stage == "count":
        return f'<div class="status" role="status">Counting frames: {latest.done}</div>'
    bar = f'<progress max="100" value="{100 * meter.share:.0f}" aria-label="Share of the job done"></progress>'
    return f'<div class="status" role="status">{bar}{_doing(latest)}, {_left(meter)}</div>'


def result(job: JobResult) -> str:
    """What was lost, as a table of metrics, with which settings, and the cost in plain words."""
    report = job.report
    pixels = report.num_frames * report.height * report.width * 3
    lines = [
        " · ".join(f"{name}: <b>{html.escape(text)}</b>" for name, text in job.settings.items()),
        f"{compression_words(pixels, math.prod(report.latent_shape))}.",
        f"Encoded in {report.encode_total_s:.2f} s, decoded in {report.decode_total_s:.2f} s.",
        *(f"Note: {html.escape(warning)}." for warning in report.warnings),
    ]
    if not lpips_available():
        lines.append("LPIPS is left out: python -m workbench fetch lpips brings its network to this computer.")
    taken = "Arrows point to the better side. Metrics are taken on the frames themselves"
    lines.append(f"{taken}." if job.pair.is_image else f"{taken}; the videos are compressed once more for the browser.")
    return metric_table(job.summary, job.times_s) + "".join(f"<p>{line}</p>" for line in lines)


def on_any_background(figure: go.Figure) -> go.Figure:
    """The figure without a background of its own, in greys that can be read on a light and on a dark page."""
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font_color=_GREY, margin_t=64
    )
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "linecolor": _GREY, "zerolinecolor": "rgba(128,128,128,0.25)"}
    figure.update_xaxes(**axis).update_yaxes(**axis).update_annotations(font_size=13)
    return figure.update_layout(showlegend=len({trace.name for trace in figure.data}) > 1)


def _doing(latest: Progress) -> str:
    if latest.stage == MEASURE:
        return f"Frame {latest.done} of {latest.total} measured and written"
    if latest.stage == WRITE:
        return f"Frame {latest.done} of {latest.total} of the video written" if latest.done else "Writing the results"
    return f"Tile {latest.done} of {latest.total} ({html.escape(latest.stage)})"


def _left(meter: ProgressMeter) -> str:
    if meter.seconds_left is None:
        return "the time left is told while it decodes"
    return f"about {time_words(meter.seconds_left)} left" if meter.seconds_left > 0.5 else "nearly done"
