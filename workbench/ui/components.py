"""What panels and tabs share of Gradio: how listeners are set up, and lists of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.jobs.choices import Choices
from workbench.models.catalogue import MODELS, needs_weights
from workbench.ui import work

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of listeners that are the page's own: no veil over what they change, and no place in the API."""

RAW: dict[str, Any] = SILENT | {"preprocess": False}
"""Of listeners that take the clip: values come as the page has them, a file as its record, see `choices_of`. Whenever
Gradio itself hands a file over, it leaves an empty one behind."""


def choices_of(source: Any, *others: Any) -> Choices:
    """What was chosen, from the values of `ClipPanel.components`."""
    return Choices(source["path"] if isinstance(source, dict) else source, *others)


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
