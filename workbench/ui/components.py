"""Gradio's components, without the files that its own leave behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.models.catalogue import MODELS, needs_weights
from workbench.ui import work

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of listeners that are the page's own: no veil over what they change, and no place in the API."""


def found_labels(root: Path) -> list[str]:
    """The models that can run, by their labels."""
    return list(work.find_models(root))


def models_list(labels: Callable[[], list[str]], **arguments: Any) -> gr.Dropdown:
    """Models to choose from, looked for whenever the list is opened: until then it has those that need no weights."""
    shipped = [name for name in MODELS if not needs_weights(name)]
    box = gr.Dropdown(shipped, **{"value": shipped[0], **arguments})
    box.focus(lambda: gr.update(choices=labels()), None, box, **SILENT)
    return box


IMAGE_BUTTONS: list[Any] = ["fullscreen", "download"]
"""What a picture offers; sharing would send it to a public site."""


def clip_file(**arguments: Any) -> gr.File:
    """A file as its path; what kind it is, the job finds out. Gradio's own way leaves an empty temporary file behind at
    every call. Changed in this one component: beside the file of a class of ours Gradio would write type stubs."""
    box = gr.File(**arguments)
    box.preprocess = _path_of  # type: ignore[method-assign]
    return box


def _path_of(payload: Any) -> Any:
    return None if payload is None else payload.path
