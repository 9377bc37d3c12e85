"""The Reconstruct tab: a clip in, its reconstruction beside it, and what was lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from workbench.errors import WorkbenchError
from workbench.media import MEDIA_EXTENSIONS, list_media
from workbench.models import MODELS, find_spec, pick_device
from workbench.ui import pieces
from workbench.ui.choices import RANDOM_WEIGHTS, Choices, find_weights
from workbench.ui.estimate import describe
from workbench.ui.jobs import JobFolders, ModelShelf, ProgressMeter, discard
from workbench.ui.player import player_value, wipe_player
from workbench.ui.reconstruct_job import DOWNLOADS, JobResult, reconstruct_job

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS_AT_ONCE = 2
_DOWNLOAD_LABELS = ("Reconstruction", "Side by side", "Metrics (CSV)", "Metrics (JSON)")
_RESOLUTIONS = [("as it is", ""), "256", "256px", "256px_ar1:1", "512px", "720p"]
_DEFAULT_MAX_FRAMES = 96


class ReconstructTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        root: the folder under which weights may be opened.
        device: the device chosen at first.
    """

    def __init__(self, folders: JobFolders, models: ModelShelf, root: Path, device: str | None) -> None:
        self._folders, self._models, self._root = folders, models, root
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._lay_out_inputs(str(pick_device(device)))
            with gr.Column(scale=3, min_width=300):
                self._lay_out_results()
        self._wire()

    def describe(
        self, source, model, weights, device, max_frames, resolution, tiled, tile_side, tile_frames, overlap
    ) -> str:
        """What the job would take, before it runs."""
        choices = Choices(
            source, model, weights, device, max_frames, resolution, tiled, tile_side, tile_frames, overlap
        )
        if not source:
            return ""
        try:
            return describe(choices)
        except WorkbenchError as error:
            return pieces.error(choices.explain(error))

    def run(
        self,
        source: str | None,
        model: str,
        weights: str | None,
        device: str,
        max_frames: float | None,
        resolution: str | None,
        tiled: bool,
        tile_side: float | None,
        tile_frames: float | None,
        overlap: float,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """The job as updates of the page, one after every tile. Closing it stops within one tile and leaves nothing."""
        choices = Choices(
            source, model, weights, device, max_frames, resolution, tiled, tile_side, tile_frames, overlap
        )
        folder, finished = self._folders.new(), False
        try:
            yield {self.status: pieces.PREPARING}
            ae = self._models.load(model, choices.weights_in(self._root), device)
            job = yield from self._progress(reconstruct_job(choices, ae, folder))
            self._folders.keep(request.session_hash, folder)
            finished = True
            yield self._ready() | self._shown(job)
        except WorkbenchError as error:
            yield self._ready(pieces.error(choices.explain(error)))
        except Exception:  # a bug: the page must not hang, and the log gets its traceback
            yield self._ready(pieces.CRASHED)
            raise
        finally:
            if not finished:
                discard(folder)

    def begin(self) -> dict[Any, Any]:
        """The page when a job has been asked for: old results gone, Cancel instead of Run."""
        return {
            self.notice: "",
            self.status: gr.update(value=pieces.WAITING, visible=True),
            self.run_button: gr.update(visible=False),
            self.cancel_button: gr.update(visible=True),
            self.results: gr.update(visible=False),
        }

    def cancelled(self) -> dict[Any, Any]:
        """The page after Cancel; the event itself closes the job."""
        return self._ready(pieces.CANCELLED)

    def failed(self, notice: str) -> dict[Any, Any]:
        """The page after a job that never began. Gradio calls it for cancelled and crashed ones too, which said so."""
        return self._ready(notice or pieces.NOT_STARTED)

    def left(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._folders.forget(request.session_hash)

    @staticmethod
    def model_chosen(model: str) -> tuple[Any, Any]:
        """What the model is, and weights to choose only if it has any."""
        spec = find_spec(model)
        return gr.update(info=f"{spec.summary} ({spec.source})"), gr.update(visible=spec.weights is not None)

    def _progress(self, steps) -> Iterator[dict[Any, Any]]:
        """Tiles done as updates of the page; returns what `steps` returns, and closes it when closed."""
        meter = ProgressMeter()
        try:
            while True:
                meter.add(next(steps))
                yield {self.status: pieces.progress(meter)}
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def _ready(self, notice: str = "") -> dict[Any, Any]:
        return {
            self.notice: notice,
            self.status: gr.update(visible=False),
            self.run_button: gr.update(visible=True),
            self.cancel_button: gr.update(visible=False),
        }

    def _shown(self, job: JobResult) -> dict[Any, Any]:
        files = {button: job.downloads[name] for button, name in zip(self.downloads, DOWNLOADS, strict=True)}
        return {
            self.results: gr.update(visible=True),
            self.player: player_value(job.pair),
            self.summary: pieces.result(job),
            self.curves: gr.update(value=pieces.on_any_background(job.curves), visible=not job.pair.is_image),
            **files,
        }

    def _lay_out_inputs(self, device: str) -> None:
        self.source = gr.File(label="Clip or photo", file_types=list(MEDIA_EXTENSIONS), height=150)
        with gr.Row(elem_classes="examples"):
            gr.HTML("Or try", elem_classes="examples-label")
            self.examples = {
                gr.Button(path.stem.capitalize(), size="sm", min_width=80): path for path in list_media(EXAMPLES)
            }
        model = next(iter(MODELS))
        spec = find_spec(model)
        self.model = gr.Dropdown(list(MODELS), value=model, label="Model", info=f"{spec.summary} ({spec.source})")
        self.weights = gr.Dropdown(
            [("random (untrained)", RANDOM_WEIGHTS), *find_weights(self._root)],
            value=None,
            allow_custom_value=True,
            visible=spec.weights is not None,
            label="Weights",
            info="a file or checkpoint folder under the app's root folder, or org/repo/file on the Hugging Face Hub",
        )
        with gr.Accordion("Frames, tiles and device", open=False):
            self._lay_out_details(device)
        self.estimate = gr.HTML("", elem_classes="estimate-box")
        self.run_button = gr.Button("Reconstruct", variant="primary", elem_id="run")
        self.cancel_button = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")

    def _lay_out_details(self, device: str) -> None:
        with gr.Row():
            self.max_frames = gr.Number(
                _DEFAULT_MAX_FRAMES, label="Frames at most", info="0: all", precision=0, minimum=0, min_width=130
            )
            self.resolution = gr.Dropdown(
                _RESOLUTIONS,
                value="",
                allow_custom_value=True,
                label="Frame size",
                info="256: short side; 256px: area",
                min_width=130,
            )
        self.tiled = gr.Checkbox(True, label="Cut into tiles", info="bounds memory; overlaps are blended")
        with gr.Row():
            size = {"info": "0: the model's own", "precision": 0, "minimum": 0, "min_width": 130}
            self.tile_side = gr.Number(0, label="Tile side", **size)
            self.tile_frames = gr.Number(0, label="Tile frames", **size)
        self.overlap = gr.Slider(0.0, 0.5, 0.25, step=0.05, label="Overlap", info="share of a tile")
        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        self.device = gr.Dropdown(sorted({*devices, device}), value=device, label="Device")

    def _lay_out_results(self) -> None:
        # Apart from each other, because progress may still arrive when a job has been cancelled.
        self.notice = gr.HTML(pieces.IDLE, elem_id="notice")
        self.status = gr.HTML("", visible=False, elem_id="status")
        with gr.Column(visible=False) as self.results:
            self.player = wipe_player(label="Original and reconstruction", elem_id="player")
            self.summary = gr.HTML("", elem_id="summary", elem_classes="summary-box")
            with gr.Row():
                self.downloads = [gr.DownloadButton(label, size="sm", min_width=120) for label in _DOWNLOAD_LABELS]
            self.curves = gr.Plot(label="Frame by frame", format="png")

    def _wire(self) -> None:
        inputs = [
            *(self.source, self.model, self.weights, self.device, self.max_frames, self.resolution),
            *(self.tiled, self.tile_side, self.tile_frames, self.overlap),
        ]
        page = [self.notice, self.status, self.run_button, self.cancel_button, self.results]
        results = [self.player, self.summary, self.curves, *self.downloads]
        hidden = {"show_progress": "hidden", "api_visibility": "private"}
        for button, path in self.examples.items():
            button.click(lambda path=path: str(path), None, self.source, **hidden)
        self.model.change(self.model_chosen, self.model, [self.model, self.weights], **hidden)
        changes = [component.change for component in inputs]
        gr.on(changes, self.describe, inputs, self.estimate, trigger_mode="always_last", **hidden)
        begun = self.run_button.click(self.begin, None, page, queue=False, **hidden)
        job = begun.then(
            self.run,
            inputs,
            page + results,
            api_name="reconstruct",
            concurrency_limit=JOBS_AT_ONCE,
            show_progress="hidden",
        )
        job.failure(self.failed, self.notice, page, queue=False, **hidden)
        # Said by the page itself, at once, so that `failed` does not take it for a job that could not start.
        self.cancel_button.click(None, None, self.notice, js=f"() => {json.dumps(pieces.CANCELLED)}", **hidden)
        self.cancel_button.click(self.cancelled, None, page, cancels=[job], queue=False, **hidden)
