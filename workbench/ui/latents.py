"""The Latents tab: what a clip becomes inside a model, to look at, to take along and to decode again."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.errors import WorkbenchError, worded
from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.steps import Steps
from workbench.ui import pieces, work
from workbench.ui.clip import ClipPanel
from workbench.ui.components import IMAGE_BUTTONS, SILENT, choices_of, found_labels, models_list
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import LABELS, explainer
from workbench.ui.words import compression_words, size_words
from workbench.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.jobs.latents import LatentView

_STRIP_PIXELS = 150  # that a frame of the components' strip takes
_STRIP_COLUMNS = 6
_MOST_FRAMES = 24  # shown of the components, evenly chosen


class LatentsTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        root: the folder under which models are looked for.
    """

    def __init__(self, folders: JobFolders, queue: JobQueue, model: LoadedModel, root: Path, clip: ClipPanel) -> None:
        self._model, self._root, self._clip = model, root, clip
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=240):
                self.model = models_list(lambda: found_labels(root), label="Model", info="weights under the app's root")
                self.panel = JobPanel(folders, queue, "latents", "Encode, or decode latents")
            with gr.Column(scale=3, min_width=420):
                self.panel.lay_out_idle("What the model keeps of the clip appears here, channel by channel.")
                self._lay_out_results()
        self._wire()

    def run(self, request: gr.Request, model: str, *clip: Any) -> Iterator[dict[Any, Any]]:
        """Encoding a clip, or decoding a file of latents, as updates of the page."""
        choices = choices_of(*clip)

        def start(folder: Path) -> Steps["LatentView"]:
            job = work.decode_job if choices.is_latents else work.encode_job
            entry = work.pick([model], self._root)[0]
            return (yield from job(choices, entry, self._model.load(entry, choices.device), folder))

        explain = explainer(choices, self._root)
        yield from self.panel.run(start, self._shown, explain, request.session_hash, stages=1)

    @staticmethod
    def frame_chosen(view: tuple[str, str] | None, frame: int) -> Any:
        """The channels of another latent frame."""
        latents = _seen(view)
        if latents is None:
            return gr.skip()
        return channels_figure(latents, min(int(frame), latents.shape[1] - 1))

    @staticmethod
    def follow(view: tuple[str, str] | None, event: gr.EventData) -> Any:
        """The latent frame at the place in time where the player stands."""
        latents = _seen(view)
        return gr.skip() if latents is None else round((latents.shape[1] - 1) * event.frame / max(event.last, 1))

    def _shown(self, view: "LatentView") -> dict[Any, Any]:
        frames = view.latents.shape[1]
        is_image = view.clip.is_image
        decoded = view.decoded and str(view.decoded)
        return {
            self.view: (str(view.file), view.key),
            self.words: latent_words(view),
            self.video: gr.update(value=None if is_image else decoded, visible=bool(decoded) and not is_image),
            self.photo: gr.update(value=decoded if is_image else None, visible=bool(decoded) and is_image),
            self.download: gr.update(value=str(view.file)),
            self.frame: gr.update(value=0, maximum=max(frames - 1, 1), visible=frames > 1),
            self.channels: channels_figure(view.latents, 0),
            **self._figures(view),
        }

    def _figures(self, view: "LatentView") -> dict[Any, Any]:
        seen = work.LatentMoments(view.latents.shape[0])
        seen.update(view.latents[None])
        stored = (view.statistics.mean, view.statistics.std) if view.statistics else (None, None)
        frequencies, power = work.power_spectrum(view.latents)
        statistics = work.moments_figure(seen.mean.tolist(), seen.std.tolist(), *stored)
        return {
            self.components: components_strip(view),
            self.statistics: pieces.on_any_background(statistics),
            self.spectrum: gr.update(
                value=pieces.on_any_background(work.spectrum_figure(frequencies, power)) if len(power) else None,
                visible=len(power) > 0,
            ),
        }

    def _lay_out_results(self) -> None:
        self.view = gr.State(None)
        with gr.Column(visible=False) as self.results:
            self.words = gr.HTML("", elem_id="latents-words", elem_classes="summary-box")
            self.video = gr.Video(label="Decoded", loop=True, autoplay=True, visible=False, elem_id="latents-video")
            self.photo = gr.Image(label="Decoded", format="png", visible=False, buttons=IMAGE_BUTTONS)
            self.download = gr.DownloadButton("Latents", size="sm", elem_id="latents-download")
            self.components = gr.HTML("", elem_id="latents-pca", elem_classes="summary-box")
            self.channels = gr.HTML("", elem_id="channels", elem_classes="summary-box")
            self.frame = gr.Slider(0, 1, 0, step=1, label="Latent frame", info="of the channels above")
            self.statistics = gr.Plot(label="Mean and deviation of each channel", format="png")
            self.spectrum = gr.Plot(label="Spatial spectrum", format="png")

    def _wire(self) -> None:
        self.frame.change(
            self.frame_chosen, [self.view, self.frame], self.channels, trigger_mode="always_last", **SILENT
        )
        outputs = [
            *(self.view, self.words, self.video, self.photo, self.download, self.frame, self.channels),
            *(self.components, self.statistics, self.spectrum),
        ]
        self.panel.wire(self.run, [self.model, *self._clip.components], self.results, outputs)


def _seen(view: tuple[str, str] | None) -> "Tensor | None":
    """The latents that are shown; None where there are none, or a newer job has taken their place."""
    if view is None:
        return None
    try:
        return work.read_latents(Path(view[0]), view[1])
    except WorkbenchError:
        return None


def channels_figure(latents: "Tensor", frame: int) -> str:
    """HTML: all channels of one frame of latents (C, t, h, w)."""
    return pieces.figure(
        work.channel_grid(latents[:, frame]), "Every channel of one latent frame, each on a scale of its own"
    )


def components_strip(view: "LatentView") -> str:
    """HTML: the principal components of all latent frames, or of some of them evenly chosen, row by row."""
    frames = work.pca_rgb(view.latents)
    frames = frames[:: -(-len(frames) // _MOST_FRAMES)]
    rows = -(-len(frames) // _STRIP_COLUMNS)
    scale = max(1, round(_STRIP_PIXELS / max(frames.shape[2:])))
    caption = "Three principal components of the channels as red, green and blue, over time"
    return pieces.figure(work.tile_grid(frames, -(-len(frames) // rows), scale), caption)


def latent_words(view: "LatentView") -> str:
    """HTML: the latents in plain words, and notes."""
    clip, latents = view.clip, view.latents
    channels, steps, rows, columns = latents.shape
    pixels = clip.num_frames * clip.height * clip.width * 3
    frames = "a photo" if clip.is_image else counted(clip.num_frames, "frame")
    lines = [
        f"<b>{html.escape(view.model)}</b>: {frames} of {clip.width}×{clip.height} are {channels} channels on a grid "
        f"of {steps}×{rows}×{columns} (time, height, width). {compression_words(pixels, latents.numel())}.",
        f"Mean {latents.mean().item():.3g}, deviation {latents.std(correction=0).item():.3g} over all values; "
        f"as 32-bit numbers the file takes {size_words(view.file.stat().st_size)}.",
        "No statistics are stored beside this model's weights to compare with."
        if view.statistics is None
        else "The lines in the plot of the channels are the statistics stored beside the weights.",
        *(f"Note: {html.escape(worded(note, LABELS.get))}." for note in view.notes),
    ]
    return "".join(f"<p>{line}</p>" for line in lines)
