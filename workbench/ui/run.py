"""What reconstructs: models to choose, the plan for them, and the button that puts a card for each on the shelf."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.errors import ConfigError, WorkbenchError
from workbench.jobs.choices import Choices
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import Job
from workbench.jobs.shelf import Shelf
from workbench.models.catalogue import BASELINE, DEFAULT_MODEL
from workbench.models.ref import ModelRef
from workbench.steps import Steps, timed
from workbench.ui import pieces, work
from workbench.ui.clip import ClipPanel
from workbench.ui.components import RAW, SILENT, choices_of, found_labels, models_list
from workbench.ui.labels import explainer
from workbench.ui.uploads import Uploads
from workbench.ui.visitors import visitor_of

if TYPE_CHECKING:
    from workbench.jobs.reconstruct import JobResult

_PACE_PIXELS = 1_000_000  # of all frames: what a smaller job took says more of what every job takes
LATENTS = '<p class="dim">A file of latents: the Latents tab decodes it.</p>'
_STARTED = "() => window.workbench.started()"
"""Has the page's shelf ask for its cards."""


class RunPanel:
    """Lays itself out in the column around it; its methods are the callbacks.

    Args:
        root: the folder under which models are looked for.
    """

    def __init__(self, clip: ClipPanel, shelf: Shelf, uploads: Uploads, model: LoadedModel, root: Path) -> None:
        self._clip, self.shelf, self._uploads, self._model, self._root = clip, shelf, uploads, model, root
        self._is_warm = False
        self._paces: dict[tuple[str, str], float] = {}  # seconds a pixel of the last job
        self.labels = models_list(
            lambda: found_labels(root),
            value=[DEFAULT_MODEL, BASELINE],
            multiselect=True,
            allow_custom_value=True,
            label="Models",
            elem_id="models",
        )
        self.button = gr.Button("Reconstruct", variant="primary", elem_id="run")
        self.notice = gr.HTML("", elem_id="run-notice")
        self.plan = gr.HTML("", elem_id="plan")

    def wire(self, page: gr.Blocks) -> None:
        """Connect what was laid out; the clip's details stand by then."""
        inputs: list[Any] = [self.labels, *self._clip.components]
        changes = [component.change for component in inputs]
        gr.on(changes, self.describe, inputs, self.plan, trigger_mode="always_last", **RAW)
        started = self.button.click(self.start, inputs, self.notice, **RAW)
        started.then(None, None, None, js=_STARTED, **SILENT)
        page.load(self.warm_up, self._clip.device, None, **SILENT)

    def warm_up(self, device: str) -> None:
        """Prepare for the first job when the first visitor comes, who chooses for longer than that takes."""
        if not self._is_warm:
            self._is_warm = True
            self.shelf.queue.prepare(work.warm_up(self._model, device))

    def describe(self, labels: list[str], *values: Any) -> Iterator[str]:
        """What the jobs would take, before they run: at once, and again when the memory in a model is counted."""
        choices = choices_of(*values)
        if not choices.source or choices.is_latents:
            yield LATENTS if choices.source else ""
            return
        try:
            paces = {label: self._paces.get((label, choices.device)) for label in labels}
            yield from work.describe(choices, work.pick(labels, self._root), paces)
        except WorkbenchError as error:
            yield pieces.error(explainer(choices, self._root)(error))

    def start(self, request: gr.Request, labels: list[str], *values: Any) -> str:
        """A card on the shelf for every model; what stands in the way, in words."""
        choices, visitor = choices_of(*values), visitor_of(request)
        explain = explainer(choices, self._root)
        try:
            choices.path.stat()
            entries = work.pick(labels, self._root)
            if not entries:
                raise ConfigError("choose a model first")
            for entry in entries:
                self.add(visitor, choices, entry)
        except (WorkbenchError, OSError) as error:
            return pieces.error(explain(error))
        return ""

    def add(self, visitor: str, choices: Choices, entry: ModelRef) -> Job:
        """A card for one model on the visitor's shelf.

        Raises:
            ConfigError: too many jobs wait.
        """
        user = f"job {secrets.token_hex(16)}"

        def make(folder: Path) -> Job:
            """The job, which writes into its card's folder."""
            return Job(
                visitor,
                folder,
                lambda folder: self._steps(choices, entry, folder),
                explainer(choices, self._root),
                work.STAGES,
                more=lambda result: work.finish_job(result, choices.device),
                on_end=lambda job: self._ended(job, user),
                about={"label": entry.label, "clip": choices.path.name},
            )

        self._uploads.use(user, choices.source)
        try:
            return self.shelf.add(make)
        except Exception:
            self._uploads.release(user)
            raise

    def _steps(self, choices: Choices, entry: ModelRef, folder: Path) -> Steps["JobResult"]:
        ae = self._model.load(entry, choices.device)
        result, seconds = yield from timed(work.reconstruct_job(choices, entry, ae, folder))
        if result.report.volume >= _PACE_PIXELS:
            self._paces[entry.label, choices.device] = seconds / result.report.volume
        return result

    def _ended(self, job: Job, user: str) -> None:
        self._uploads.release(user)
        self.shelf.make_room(job)
