"""The player: original and reconstruction in step, compared by wipe, flicker and difference, down to single pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from workbench.jobs.folders import JobFolders
from workbench.jobs.reconstruct import ClipPair
from workbench.metrics.measure import METRICS, summarise
from workbench.ui.exact import server_functions

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("state", "exact", "view", "curves", "slice", "playback", "events")
"""Parts of one script, in this order, which share their names."""


def wipe_player(folders: JobFolders, **arguments: Any) -> gr.HTML:
    """The component; its value is what `player_value` returns, or None for nothing to show.

    (For a subclass of gr.HTML, Gradio would write a .pyi file beside this.)
    """
    read = lambda name: (_ASSETS / name).read_text("utf-8")  # noqa: E731
    return gr.HTML(
        None,
        html_template=read("player.html"),
        css_template=read("player.css"),
        js_on_load="\n".join(read(f"player_{name}.js") for name in _SCRIPTS),
        server_functions=server_functions(folders),
        **arguments,
    )


def player_value(pair: ClipPair, metrics: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The pair and its per-frame metrics as the page's script takes them; Gradio turns the files into addresses."""
    files = {name: FileData(path=str(getattr(pair, name))).model_dump() for name in ("original", "output")}
    return asdict(pair) | files | {"curves": [] if pair.is_image else _curves(metrics)}


def _curves(metrics: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    return [
        {
            "label": METRICS[name].label,
            "unit": METRICS[name].unit,
            "better": "higher" if METRICS[name].higher_is_better else "lower",
            "values": [float(f"{value:.4g}") if math.isfinite(value) else None for value in metrics[name]],
            "worst": summary.worst_frame,
        }
        for name, summary in summarise(metrics).items()
    ]
