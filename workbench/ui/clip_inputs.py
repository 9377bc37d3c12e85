"""Inputs that several tabs share: a clip to drop or pick, how much of it to take, and where to compute."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from workbench.devices import pick_device
from workbench.jobs.choices import Choices
from workbench.media.files import MEDIA_EXTENSIONS, list_media
from workbench.ui.components import SILENT, ClipFile

EXAMPLES = Path(__file__).parents[1] / "examples"
RESOLUTIONS: list[Any] = [("as it is", ""), "128", "256", "256px", "256px_ar1:1", "512px", "720p"]


class ClipInputs:
    """Lays the inputs out in the column around it.

    Args:
        device, max_frames, resolution: what is chosen at first.
        label, more_types: what else may be dropped, and the extensions of such files.

    Attributes:
        components: clip, frames at most, frame size and device: the first arguments of a tab's callbacks.
    """

    def __init__(
        self,
        device: str | None,
        max_frames: int,
        resolution: str,
        label: str = "Clip or photo",
        more_types: Sequence[str] = (),
    ) -> None:
        self.source = ClipFile(label=label, file_types=[*MEDIA_EXTENSIONS, *more_types], height=150)
        with gr.Row(elem_classes="examples"):
            gr.HTML("Or try", elem_classes="examples-label")
            for path in list_media(EXAMPLES):
                button = gr.Button(path.stem.capitalize(), size="sm", min_width=80)
                button.click(lambda path=path: str(path), None, self.source, **SILENT)
        with gr.Row():
            self._lay_out_details(str(pick_device(device)), max_frames, resolution)
        self.components = [self.source, self.max_frames, self.resolution, self.device]

    def _lay_out_details(self, device: str, max_frames: int, resolution: str) -> None:
        self.max_frames = gr.Number(
            max_frames, label="Frames at most", info="0: all", precision=0, minimum=0, min_width=110
        )
        self.resolution = gr.Dropdown(
            RESOLUTIONS,
            value=resolution,
            allow_custom_value=True,
            label="Frame size",
            info="256: short side; 256px: area",
            min_width=130,
        )
        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        self.device = gr.Dropdown(sorted({*devices, device}), value=device, label="Device", min_width=110)


def choices_of(
    source: str | None, max_frames: float | None, resolution: str | None, device: str, **changes: Any
) -> Choices:
    """The values of `ClipInputs`, in order, as the library takes them; further fields of `Choices` by name."""
    values = {
        "model": "",
        "weights": None,
        "tiled": True,
        "spatial_tile_size": None,
        "temporal_tile_size": None,
        "tile_overlap_factor": 0.25,
        **changes,
    }
    return Choices(source=source, device=device, max_frames=max_frames, resolution=resolution, **values)
