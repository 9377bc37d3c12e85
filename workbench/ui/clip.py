"""The clip at the top of the page, which every tab works on, and what of it is taken."""

from typing import Any

import gradio as gr

from workbench.devices import known_devices
from workbench.jobs.choices import LATENTS_EXTENSION, UNCUT
from workbench.media.files import EXAMPLES, MEDIA_EXTENSIONS, list_media
from workbench.tile_settings import MODES
from workbench.ui.components import RAW, SILENT
from workbench.ui.shipped import CLIP, SHIPPED
from workbench.ui.uploads import Uploads
from workbench.ui.visitors import visitor_of

_RESOLUTIONS: list[Any] = [("as it is", ""), "128", "256", "256px", "256px_ar1:1", "512px", "720p"]
_MODES: list[Any] = [("model's own", ""), (UNCUT, UNCUT), *MODES]
_MOST_FRAMES = 96


class ClipPanel:
    """Lays the inputs out in the column around it.

    Attributes:
        components: clip, device, frames at most, frame size, mode, tile side, tile frames and overlap: the fields of
            `Choices`, and the first arguments of all callbacks that work on the clip.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        types = [*MEDIA_EXTENSIONS, LATENTS_EXTENSION]
        self.source = gr.File(label="Clip or photo", file_types=types, height=116, elem_id="clip")
        with gr.Row(elem_classes="examples"):
            for path in list_media(EXAMPLES):
                picture = SHIPPED / f"{path.stem}.jpg"
                button = gr.Button(path.stem.capitalize(), icon=str(picture), size="sm", min_width=60)
                button.click(lambda path=path: str(path), None, self.source, **SILENT)

    def lay_out_details(self, device: str | None) -> None:
        """How much of the clip is taken, and how it is cut."""
        with gr.Accordion("Frames, size, device, tiles", open=False, elem_id="details"):
            with gr.Row():
                whole: dict[str, Any] = {"precision": 0, "minimum": 0, "min_width": 120}
                self.max_frames = gr.Number(_MOST_FRAMES, label="Frames at most", info="0: all", **whole)
                self.resolution = gr.Dropdown(
                    _RESOLUTIONS,
                    value="",
                    allow_custom_value=True,
                    label="Frame size",
                    info="256: short side; 256px: area",
                    min_width=120,
                )
                devices = known_devices()
                chosen = device or devices[0]
                self.device = gr.Dropdown(sorted({*devices, chosen}), value=chosen, label="Device", min_width=120)
                self.mode = gr.Dropdown(_MODES, value="", label="Cut", info="the Tiles tab compares", min_width=120)
                self.side = gr.Number(0, label="Tile side", info="0: the model's own", **whole)
                self.frames = gr.Number(0, label="Tile frames", info="0: the model's own", **whole)
            self.overlap = gr.Slider(0.0, 0.5, 0.25, step=0.05, label="Overlap", info="share of a tile")
        self.components = [
            *(self.source, self.device, self.max_frames, self.resolution),
            *(self.mode, self.side, self.frames, self.overlap),
        ]

    def wire(self, page: gr.Blocks) -> None:
        """Before all other listeners, so that a clip belongs to its visitor first."""
        self.source.change(self._changed, self.source, None, **RAW, queue=False)
        page.load(self._found_again, None, self.source, **SILENT, queue=False)

    def _changed(self, clip: dict[str, Any] | None, request: gr.Request) -> None:
        self._uploads.choose(visitor_of(request), clip["path"] if clip else None)

    def _found_again(self, request: gr.Request) -> str:
        return self._uploads.chosen(visitor_of(request)) or str(CLIP)
