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

from gradio.events import Dependency

class WipePlayer(gr.HTML):
    """Shows a `ClipPair`: drag, touch or arrow keys move the wipe; play, step and scrub move both clips together."""

    def __init__(self, value: ClipPair | None = None, **arguments: Any) -> None:
        template, css, script = ((_ASSETS / f"player.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
        super().__init__(value, html_template=template, css_template=css, js_on_load=script, **arguments)

    def postprocess(self, value: ClipPair | None) -> dict[str, Any] | None:
        """The pair as the page's script takes it; Gradio turns the two files into addresses."""
        if value is None:
            return None
        files = {name: FileData(path=str(getattr(value, name))).model_dump() for name in ("original", "output")}
        return asdict(value) | files

    def api_info(self) -> dict[str, Any]:
        return {"type": "object", "description": "the two files, and the clip's size, length and rate"}
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component