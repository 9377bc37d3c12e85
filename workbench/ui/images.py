"""Pictures on the page, without loss and without a label over them."""

import html
from typing import Any

import gradio as gr

from workbench.ui.components import InlineImage

IMAGE_BUTTONS: list[Any] = ["fullscreen", "download"]
"""What a picture offers; sharing would send it to a public site."""


def captioned_image(caption: str, elem_id: str) -> InlineImage:
    """A picture under its caption, which is also read out for it; hidden with the column around both."""
    gr.HTML(f"<p>{html.escape(caption)}</p>", elem_classes="summary-box")
    return InlineImage(show_label=False, buttons=IMAGE_BUTTONS, alt_text=caption, elem_id=elem_id)
