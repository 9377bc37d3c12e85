"""The wipe player: original and reconstruction in step under one handle."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class ClipPair:
    """What the player shows: two files of one size and length that browsers play (.mp4, or .png for photos)."""

    original: Path
    output: Path
    is_image: bool
    num_frames: int
    fps: float
    height: int
    width: int


def wipe_player(**arguments: Any) -> gr.HTML:
    """The component: drag, touch or arrow keys move the wipe; play, step and scrub move both clips together.

    Its value is what `player_value` returns. (For a subclass of gr.HTML, Gradio would write a .pyi file beside this.)
    """
    template, css, script = ((_ASSETS / f"player.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return gr.HTML(None, html_template=template, css_template=css, js_on_load=script, **arguments)


def player_value(pair: ClipPair) -> dict[str, Any]:
    """The pair as the page's script takes it; Gradio turns the two files into addresses."""
    files = {name: FileData(path=str(getattr(pair, name))).model_dump() for name in ("original", "output")}
    return asdict(pair) | files
