"""Small pieces of HTML that the tabs share. Everything that comes from outside is escaped here."""

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from workbench.jobs.queue import WAITING as WAITING_STATE
from workbench.jobs.queue import Job
from workbench.ui import work
from workbench.ui.words import doing, waiting

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import Tensor

WAITING = f'<div class="status" role="status">{waiting(0)}.</div>'
PREPARING = '<div class="status" role="status">Loading the model and looking the clip over.</div>'
CANCELLED = '<div class="status" role="status">Cancelled. Nothing was kept.</div>'
NOT_STARTED = (
    '<div class="status error" role="alert">The job could not start: too many are waiting, or a value was not '
    "accepted. Try again in a moment.</div>"
)
_GREY = "#7d7d7d"


def error(message: str) -> str:
    """A message that a screen reader speaks at once."""
    return f'<div class="status error" role="alert">{html.escape(message)}</div>'


def progress(job: Job, ahead: int) -> str:
    """A progress bar, what is being done and, once it can be told, the time left; or how many jobs come before it."""
    if job.state == WAITING_STATE:
        return f'<div class="status" role="status">{waiting(ahead)}.</div>'
    if job.progress is None:
        return PREPARING
    bar = f'<progress max="1" value="{job.progress[1]:.3f}" aria-label="Share of the job done"></progress>'
    return f'<div class="status" role="status">{bar}{html.escape(doing(job))}</div>'


def figure(frame_CHW: "Tensor", caption: str) -> str:
    """A picture without loss, uint8 (3, H, W), under its caption, which is also read out for it. A click fills the
    screen with it. (What a `gr.Image` gets while its tab is opened for the first time is lost.)"""
    words = html.escape(caption)
    image = f'<img alt="{words}" src="{work.png_url(work.picture(frame_CHW))}">'
    return f'<figure class="shown"><figcaption>{words}</figcaption>{image}</figure>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls where it is too wide. Cells are HTML; each row begins with its head, and the last cell of a
    short one takes the place of those that are missing."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = ""
    for name, *cells, last in rows:
        span = len(heads) - len(cells) - 1
        wide = f' colspan="{span}"' if span > 1 else ""
        body += f'<tr><th scope="row">{name}</th>{"".join(map("<td>{}</td>".format, cells))}<td{wide}>{last}</td></tr>'
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f'<div class="scroll"><table class="metrics">{head}<tbody>{body}</tbody></table></div>'


def on_any_background(figure: "go.Figure") -> "go.Figure":
    """The figure without a background of its own, in greys that can be read on a light and on a dark page."""
    figure.update_layout(**work.SEE_THROUGH, font_color=_GREY, margin_t=64)
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "linecolor": _GREY, "zerolinecolor": "rgba(128,128,128,0.25)"}
    figure.update_xaxes(**axis).update_yaxes(**axis).update_annotations(font_size=13)
    return figure.update_layout(showlegend=len({trace.name for trace in figure.data}) > 1)
