"""The Reconstruct tab: a clip in, its reconstruction beside it, and what was lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import WorkbenchError
from workbench.jobs.choices import RANDOM_WEIGHTS, Choices, find_weights
from workbench.jobs.folders import JobFolders
from workbench.jobs.reconstruct import DOWNLOADS, STAGES, JobResult, reconstruct_job
from workbench.jobs.shelf import ModelShelf
from workbench.models.catalogue import MODELS, ModelSpec, find_spec
from workbench.steps import Steps, timed
from workbench.ui import pieces
from workbench.ui.clip_inputs import EXAMPLES, ClipInputs
from workbench.ui.components import SILENT
from workbench.ui.estimate import describe
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import explainer
from workbench.ui.player import player_value, wipe_player
from workbench.ui.uploads import Uploads

_DOWNLOAD_LABELS = ("Reconstruction", "Side by side", "Metrics (CSV)", "Metrics (JSON)", "Report (HTML)")
_DEFAULT_MAX_FRAMES = 96
_PACE_PIXELS = 1_000_000  # of all frames: what a smaller job took says more of what every job takes
_IDLE = "The original and its reconstruction appear here."


class ReconstructTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        root: the folder under which weights may be opened.
        device: the device chosen at first.
    """

    def __init__(
        self, folders: JobFolders, uploads: Uploads, models: ModelShelf, root: Path, device: str | None
    ) -> None:
        self._uploads, self._models, self._root = uploads, models, root
        self._paces: dict[tuple[str, str | None, str], float] = {}  # seconds a pixel of the last job
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._lay_out_inputs(folders, device)
            with gr.Column(scale=3, min_width=300):
                self._lay_out_results(folders)
        self._wire()

    def describe(
        self, source, model, weights, device, max_frames, resolution, tiled, tile_side, tile_frames, overlap
    ) -> Iterator[str]:
        """What the job would take, before it runs: at once, and again when the memory inside a tile is counted."""
        choices = Choices(
            source, model, weights, device, max_frames, resolution, tiled, tile_side, tile_frames, overlap
        )
        if not source:
            yield ""
            return
        try:
            yield from describe(choices, self._paces.get(_pace_key(choices)), choices.weights_in(self._root))
        except WorkbenchError as error:
            yield pieces.error(explainer(choices, self._root)(error))

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
        explain = explainer(choices, self._root)
        steps = self.panel.run(
            lambda folder: self._steps(choices, folder), self._shown, explain, request.session_hash, STAGES
        )
        with self._uploads.used(source, request.session_hash):
            yield from steps

    @staticmethod
    def model_chosen(model: str) -> tuple[Any, Any]:
        """What the model is, and weights to choose only if it has any."""
        spec = find_spec(model)
        weights = gr.update(visible=spec.weights is not None, info=_weights_hint(spec))
        return gr.update(info=f"{spec.summary} ({spec.source})"), weights

    def _steps(self, choices: Choices, folder: Path) -> Steps[JobResult]:
        ae = self._models.load(choices.ref_in(self._root), choices.device)
        job, seconds = yield from timed(reconstruct_job(choices, ae, folder))
        pixels = job.report.num_frames * job.report.height * job.report.width
        if pixels >= _PACE_PIXELS:
            self._paces[_pace_key(choices)] = seconds / pixels
        return job

    def _shown(self, job: JobResult) -> dict[Any, Any]:
        files = {button: job.downloads[name] for button, name in zip(self.downloads, DOWNLOADS, strict=True)}
        return {
            self.player: player_value(job.pair, job.report.metrics),
            self.summary: pieces.result(job),
            **files,
        }

    def _lay_out_inputs(self, folders: JobFolders, device: str | None) -> None:
        self.clip = ClipInputs(device, _DEFAULT_MAX_FRAMES, resolution="")
        self._uploads.watch(self.clip.source)
        with gr.Accordion("Where the example clips come from", open=False):
            gr.Markdown((EXAMPLES / "LICENCES.md").read_text("utf-8").split("\n", 1)[1], elem_classes="licences")
        model = next(iter(MODELS))
        spec = find_spec(model)
        self.model = gr.Dropdown(list(MODELS), value=model, label="Model", info=f"{spec.summary} ({spec.source})")
        self.weights = gr.Dropdown(
            [("random (untrained)", RANDOM_WEIGHTS), *find_weights(self._root)],
            value=None,
            allow_custom_value=True,
            visible=spec.weights is not None,
            label="Weights",
            info=_weights_hint(spec),
        )
        with gr.Accordion("Tiles", open=False):
            self._lay_out_tiles()
        self.estimate = gr.HTML("", elem_classes="estimate-box")
        self.panel = JobPanel(folders, "reconstruct", "Reconstruct")

    def _lay_out_tiles(self) -> None:
        self.tiled = gr.Checkbox(True, label="Cut into tiles", info="bounds memory; overlaps are blended")
        with gr.Row():
            size: dict[str, Any] = {"info": "0: the model's own", "precision": 0, "minimum": 0, "min_width": 130}
            self.tile_side = gr.Number(0, label="Tile side", **size)
            self.tile_frames = gr.Number(0, label="Tile frames", **size)
        self.overlap = gr.Slider(0.0, 0.5, 0.25, step=0.05, label="Overlap", info="share of a tile")

    def _lay_out_results(self, folders: JobFolders) -> None:
        self.panel.lay_out_idle(_IDLE)
        with gr.Column(visible=False) as self.results:
            self.player = wipe_player(folders, label="Original and reconstruction", elem_id="player")
            self.summary = gr.HTML("", elem_id="summary", elem_classes="summary-box")
            with gr.Row():
                self.downloads = [gr.DownloadButton(label, size="sm", min_width=120) for label in _DOWNLOAD_LABELS]

    def _wire(self) -> None:
        clip = self.clip
        inputs: list[Any] = [
            *(clip.source, self.model, self.weights, clip.device, clip.max_frames, clip.resolution),
            *(self.tiled, self.tile_side, self.tile_frames, self.overlap),
        ]
        self.model.change(self.model_chosen, self.model, [self.model, self.weights], **SILENT)
        changes = [component.change for component in inputs]
        gr.on(changes, self.describe, inputs, self.estimate, trigger_mode="always_last", **SILENT)
        outputs = [self.player, self.summary, *self.downloads]
        job = self.panel.wire(self.run, inputs, self.results, outputs, api_name="reconstruct")
        job.success(self.describe, inputs, self.estimate, **SILENT)  # the pace of this run is known now


def _weights_hint(spec: ModelSpec) -> str:
    shipped = "empty: the shipped ones; or " if spec.is_ready else ""
    return f"{shipped}a file or checkpoint folder under the app's root folder, or org/repo/file on the Hugging Face Hub"


def _pace_key(choices: Choices) -> tuple[str, str | None, str]:
    return choices.model, choices.weights, choices.device
