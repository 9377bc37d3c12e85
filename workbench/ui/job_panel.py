"""A job of a tab: its buttons, what is said while it runs, and its results at the end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from workbench.errors import WorkbenchError
from workbench.jobs.folders import JobFolders, discard
from workbench.jobs.queue import DONE, Job, JobQueue
from workbench.steps import Steps
from workbench.ui import pieces
from workbench.ui.components import RAW, SILENT

T = TypeVar("T")
_LOOK_EVERY_S = 0.25


class JobPanel:
    """Lays out the buttons, and below them, where a visitor looks, messages; results are a column of the tab's.

    Args:
        name: begins the ids of the components.
        label: of the button that starts the job.
    """

    def __init__(self, folders: JobFolders, queue: JobQueue, name: str, label: str) -> None:
        self._folders, self._queue = folders, queue
        self.run_button = gr.Button(label, variant="primary", elem_id=f"{name}-run")
        self.cancel_button = gr.Button("Cancel", variant="stop", visible=False, elem_id=f"{name}-cancel")
        # Apart from each other, because progress may still arrive when a job has been cancelled.
        self.notice = gr.HTML("", elem_id=f"{name}-notice")
        self.status = gr.HTML("", visible=False, elem_id=f"{name}-status")

    def lay_out_idle(self, text: str) -> None:
        """What stands in the place of the results before the first job."""
        self.idle = gr.HTML(f'<div class="status idle">{text}</div>')

    def run(
        self,
        start: Callable[[Path], Steps[T]],
        show: Callable[[T], dict[Any, Any]],
        explain: Callable[[WorkbenchError], str],
        visitor: str | None,
        stages: int,
    ) -> Iterator[dict[Any, Any]]:
        """The job as updates of the page while it waits and runs. Closing it stops within one tile and leaves nothing.

        Args:
            start: makes the steps of the job, which writes into the folder that it is given.
            show: the result as updates of the page.
            explain: an error in the words of the page.
            stages: how many stages there are, for the time left: see `ProgressMeter`.
        """
        job = Job(str(visitor), self._folders.new(), start, explain, stages)
        try:
            self._queue.submit(job)
            while not job.ended.wait(_LOOK_EVERY_S):
                yield {self.status: pieces.progress(job, self._queue.ahead_of(job))}
            if job.state == DONE:
                updates = self._ready() | {self.results: gr.update(visible=True)} | show(job.result)
                self._folders.keep(visitor, job.folder)
                yield updates
            else:
                yield self._ready(pieces.error(job.error))
        except WorkbenchError as error:
            discard(job.folder)
            yield self._ready(pieces.error(explain(error)))
        finally:
            self._queue.cancel(job)

    def left(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._folders.forget(request.session_hash)

    def wire(
        self, run: Callable, inputs: list[Any], results: gr.Column, outputs: list[Any]
    ) -> Any:  # gradio's Dependency
        """Connect the buttons to the tab's `run`, whose updates are those of `JobPanel.run`; returns its event."""
        self.results = results
        page = [self.idle, self.notice, self.status, self.run_button, self.cancel_button, self.results]
        begun = self.run_button.click(self._begin, None, page, queue=False, **SILENT)
        job = begun.then(
            run,
            inputs,
            page + outputs,
            **RAW,
        )
        job.failure(self._failed, self.notice, page, queue=False, **SILENT)
        # Said by the page itself, at once, so that `_failed` does not take it for a job that could not start.
        self.cancel_button.click(None, None, self.notice, js=f"() => {json.dumps(pieces.CANCELLED)}", **SILENT)
        cancelled = lambda: self._ready(pieces.CANCELLED)  # noqa: E731
        self.cancel_button.click(cancelled, None, page, cancels=[job], queue=False, **SILENT)
        return job

    def _begin(self) -> dict[Any, Any]:
        return {
            self.idle: gr.update(visible=False),
            self.notice: "",
            self.status: gr.update(value=pieces.WAITING, visible=True),
            self.run_button: gr.update(visible=False),
            self.cancel_button: gr.update(visible=True),
            self.results: gr.update(visible=False),
        }

    def _failed(self, notice: str) -> dict[Any, Any]:
        """Gradio calls it for cancelled and crashed jobs too, which said so."""
        return self._ready(notice or pieces.NOT_STARTED)

    def _ready(self, notice: str = "") -> dict[Any, Any]:
        return {
            self.notice: notice,
            self.status: gr.update(visible=False),
            self.run_button: gr.update(visible=True),
            self.cancel_button: gr.update(visible=False),
        }
