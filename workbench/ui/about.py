"""The About tab: the models and where their weights are or belong, versions, licences."""

import html
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gradio as gr

from workbench.media.files import EXAMPLES
from workbench.models.catalogue import (
    DIFFUSERS_CLASSES,
    MODELS,
    PREFIX,
    ModelSpec,
    diffusers_facts,
    diffusers_source,
    needs_weights,
)
from workbench.ui import pieces, work
from workbench.ui.components import SILENT

_PACKAGES = ("torch", "av", "gradio", "plotly", "lpips", "diffusers", "safetensors")


class AboutTab:
    """Lays out the tab in the Blocks around it.

    Args:
        root: the folder under which models are looked for.
        tab: the tab around it; whenever it is opened, models are looked for again.
    """

    def __init__(self, root: Path, tab: gr.Tab) -> None:
        self._root = root
        gr.Markdown("## Models")
        self.models = gr.HTML(elem_id="about-models", elem_classes="summary-box")
        gr.Markdown("## Autoencoders of diffusers")
        gr.HTML(diffusers_table(), elem_id="about-classes", elem_classes="summary-box")
        licences = (EXAMPLES / "LICENCES.md").read_text(encoding="utf-8")
        gr.Markdown(licences.replace("# ", "## ", 1), elem_classes="licences")
        gr.Markdown("## Versions")
        gr.HTML(version_table(), elem_id="about-versions", elem_classes="summary-box")
        tab.select(self.model_table, None, self.models, **SILENT)

    def model_table(self) -> str:
        """HTML: every model, what there is of its weights, and where missing ones go."""
        found = work.find_models(self._root)
        rows = []
        for name, spec in MODELS.items():
            labels = [entry.label for entry in found.values() if entry.name == name and entry.weights]
            weights = _weights(labels, str(spec.weights)) if needs_weights(name) else _none_missing(spec)
            rows.append((name, html.escape(f"{spec.summary} ({spec.source})"), weights))
        folders = [label for label in found if label.startswith(PREFIX)]
        wanted = _weights(folders, "a folder written by save_pretrained")
        rows.append((PREFIX + "FOLDER", "autoencoders of diffusers, of the classes below", wanted))
        note = (
            "Weights are found in .safetensors files, checkpoints of train.py and folders of diffusers, at most three "
            "folders deep under the folder that app.py was started with (--root)."
        )
        return f"{pieces.table(('Model', 'What', 'Weights'), rows)}<p>{note}</p>"


def diffusers_table() -> str:
    """HTML: the classes of diffusers, what their tiles mean, where their weights are and under which licence."""
    listed = [diffusers_facts(name) | diffusers_source(name) for name in DIFFUSERS_CLASSES]
    rows = [tuple(map(html.escape, row.values())) for row in listed]
    note = (
        "Free: tiles of any size, whose borders show. Exact without: the same by default; in tiling mode stages it is "
        "streamed, and nothing is cut. Its own: a part of the model, other sizes are refused. Strides and channels are "
        "read from the model's configuration. What is not known was not to be seen where "
        "this list was made: see the page of the weights."
    )
    return f"{pieces.table(tuple(map(str.capitalize, listed[0])), rows)}<p>{note}</p>"


def _none_missing(spec: ModelSpec) -> str:
    return "none needed" if spec.weights is None else "shipped"


def version_table() -> str:
    """HTML: Python and the packages that matter, as they are installed."""
    rows = [("Python", platform.python_version()), *((name, _version(name)) for name in _PACKAGES)]
    return pieces.table((), rows)


def _weights(labels: list[str], wanted: str) -> str:
    if labels:
        return "found: " + ", ".join(html.escape(label) for label in labels)
    return f"not found; wanted: {html.escape(wanted)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
