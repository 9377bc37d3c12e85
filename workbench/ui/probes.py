"""Below the latents of a clip: whether a generator will like them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.steps import Steps
from workbench.ui import pieces, work
from workbench.ui.clip import ClipPanel
from workbench.ui.components import choices_of
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import explainer

if TYPE_CHECKING:
    from workbench.jobs.probe import ProbeView

_FIGURES = ("The best predictors", "Frequencies of space", "What decoding forgives")
"""Those shown here, by their headings; the page that can be taken along has all."""

_IDLE = (
    "Probes of the clip's latents beside white noise of the same shape: how ambiguous a generator's way would be, "
    "where the energy lies, what decoding forgives. Evidence is on images, and one clip is few: a first look only."
)


class ProbesPanel:
    """Lays out the probes in the tab around it; its methods are the callbacks.

    Args:
        chosen: names the model.
    """

    def __init__(
        self,
        folders: JobFolders,
        queue: JobQueue,
        model: LoadedModel,
        root: Path,
        clip: ClipPanel,
        chosen: gr.Dropdown,
    ) -> None:
        self._model, self._root = model, root
        with gr.Accordion("Will a generator like them?", open=False, elem_id="probes"):
            self.panel = JobPanel(folders, queue, "probes", "Probe the clip's latents")
            self.panel.lay_out_idle(_IDLE)
            with gr.Column(visible=False) as self.results:
                self.table = gr.HTML("", elem_id="probes-table", elem_classes="summary-box")
                self.plots = [gr.Plot(label=name, format="png") for name in _FIGURES]
                self.download = gr.DownloadButton("All probes as one page", size="sm", elem_id="probes-download")
        self.panel.wire(self.run, [chosen, *clip.components], self.results, [self.table, *self.plots, self.download])

    def run(self, request: gr.Request, model: str, *clip: Any) -> Iterator[dict[Any, Any]]:
        """The probes as updates of the page."""
        choices = choices_of(*clip)

        def start(folder: Path) -> Steps["ProbeView"]:
            entry = work.pick([model], self._root)[0]
            return (yield from work.probe_job(choices, entry, self._model.load(entry, choices.device), folder))

        explain = explainer(choices, self._root)
        yield from self.panel.run(start, self._shown, explain, request.session_hash, stages=5)

    def _shown(self, view: "ProbeView") -> dict[Any, Any]:
        figures = work.figures_of(view.probed.spaces)
        shown = {
            plot: pieces.on_any_background(figures[name][1]) for plot, name in zip(self.plots, _FIGURES, strict=True)
        }
        table = f'<div class="scroll"><table class="metrics">{work.probe_table(view.probed)}</table></div>'
        return {self.table: table, self.download: gr.update(value=str(view.page)), **shown}
