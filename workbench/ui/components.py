"""Gradio's components, without the files that its own leave behind."""

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from workbench.compare.pictures import png_url
from workbench.ui.quick_import import without_stubs

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of listeners that are the page's own: no veil over what they change, and no place in the API."""

with without_stubs():

    class ClipFile(gr.File):
        """A file as its path. Gradio's own leaves an empty temporary file behind at every call."""

        is_template = True  # drawn as its parent is

        def preprocess(self, payload: Any) -> Any:
            """The path of the one file; what kind it is, the job finds out."""
            return None if payload is None else payload.path

    class InlineImage(gr.Image):
        """A picture that travels inside the page's update: Gradio would keep each one on the disk for a day."""

        is_template = True  # drawn as its parent is

        def postprocess(self, value: Any) -> ImageData | None:
            """The picture as the page takes it."""
            return None if value is None else ImageData(url=png_url(value), orig_name=f"{self.elem_id}.png")
