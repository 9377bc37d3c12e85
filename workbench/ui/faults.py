"""The Faults tab: drawn clips with known answers through the chosen models."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.jobs.folders import JobFolders
from workbench.jobs.queue import JobQueue
from workbench.steps import Steps
from workbench.ui import pieces, work
from workbench.ui.clip import ClipPanel
from workbench.ui.components import choices_of
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import explainer

if TYPE_CHECKING:
    from workbench.jobs.faults import FaultsView

_IDLE = (
    "What users report of autoencoders, looked for in the models chosen on the left: grids on flat colours, flicker, "
    "seams, ghosts, colours that drift. The clips are drawn, so the right answer is known; yours is not needed."
)


class FaultsTab:
    """Lays itself out in the tab around it; its methods are the callbacks.

    Args:
        chosen: names the models.
    """

    def __init__(self, folders: JobFolders, queue: JobQueue, root: Path, clip: ClipPanel, chosen: gr.Dropdown) -> None:
        self._root = root
        self.panel = JobPanel(folders, queue, "faults", "Look for faults")
        self.panel.lay_out_idle(_IDLE)
        with gr.Column(visible=False) as self.results:
            self.table = gr.HTML("", elem_id="faults-table", elem_classes="summary-box")
            self.rounds = gr.Plot(label="What is left after rounds of decoding and encoding again", format="png")
            self.download = gr.DownloadButton("All of it as one page", size="sm", elem_id="faults-download")
        self.panel.wire(self.run, [chosen, *clip.components], self.results, [self.table, self.rounds, self.download])

    def run(self, request: gr.Request, labels: list[str], *clip: Any) -> Iterator[dict[Any, Any]]:
        """What was found as updates of the page."""
        choices = choices_of(*clip)

        def start(folder: Path) -> Steps["FaultsView"]:
            return (yield from work.faults_job(choices, work.pick(labels, self._root), folder))

        explain = explainer(choices, self._root)
        yield from self.panel.run(start, self._shown, explain, request.session_hash, stages=3 * max(len(labels), 1))

    def _shown(self, view: "FaultsView") -> dict[Any, Any]:
        return {
            self.table: f'<div class="scroll"><table class="metrics">{work.faults_table(view.models)}</table></div>',
            self.rounds: pieces.on_any_background(work.rounds_figure(view.models, "psnr")),
            self.download: gr.update(value=str(view.page)),
        }
