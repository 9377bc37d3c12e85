"""The Training tab: the curves, samples and configuration of a run, while it goes on."""

import html
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.compare.training_figures import training_curves
from workbench.errors import ConfigError, DataError, WorkbenchError
from workbench.jobs.choices import inside
from workbench.jobs.folders import JobFolders
from workbench.training.runs import METRICS_FILE, find_runs, find_samples, read_config, read_metrics
from workbench.ui import pieces
from workbench.ui.components import SILENT
from workbench.ui.images import IMAGE_BUTTONS

_LOOK_AGAIN_S = 3.0
_IDLE = (
    '<div class="status idle">Choose a run: its curves and samples appear here, and follow it while it trains.</div>'
)


class TrainingTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        folders: for copies of the samples, since nothing of the run's own folder is served.
        root: the folder under which runs may be opened.
    """

    def __init__(self, folders: JobFolders, root: Path) -> None:
        self._folders, self._root = folders, root
        with gr.Row():
            self.run = gr.Dropdown(
                self._names(),
                value=None,
                allow_custom_value=True,
                label="Run",
                info="a folder that train.py wrote, under the app's root folder",
                elem_id="training-run",
            )
            self.sample = gr.Dropdown([], label="Sample", info="of a validation pass", interactive=True)
        self.words = gr.HTML(_IDLE, elem_id="training-words")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.curves = gr.Plot(label="Curves", format="png", visible=False, elem_id="training-curves")
            with gr.Column(scale=2, min_width=300):
                self.video = gr.Video(
                    label="Original and reconstruction",
                    loop=True,
                    autoplay=True,
                    visible=False,
                    elem_id="training-video",
                )
                self.photo = gr.Image(
                    label="Original and reconstruction", format="png", visible=False, buttons=IMAGE_BUTTONS
                )
                with gr.Accordion("Configuration", open=False, visible=False) as self.details:
                    self.config = gr.JSON(show_label=False)
        self.seen = gr.State(None)
        self.timer = gr.Timer(_LOOK_AGAIN_S, active=False)
        self._wire()

    def choose(self, name: str | None) -> dict[Any, Any]:
        """Another run: all of it."""
        if not name:
            return self._nothing(_IDLE)
        try:
            run = open_run(name, self._root)
            config = read_config(run)
            shown = self._curves(run)
        except WorkbenchError as error:
            return self._nothing(pieces.error(str(error)))
        samples = [path.name for path in find_samples(run)]
        return shown | {
            self.config: config,
            self.details: gr.update(visible=True),
            self.sample: gr.update(choices=samples, value=samples[-1] if samples else None),
            self.timer: gr.update(active=True),
        }

    def look_again(self, name: str, seen: Any, sample: str | None) -> dict[Any, Any]:
        """What is new in the run; nothing is drawn anew where nothing is. A newer sample replaces the newest one."""
        try:
            run = open_run(name, self._root)
            if _mark(run) == seen:
                return {self.seen: gr.skip()}
            shown = self._curves(run)
        except WorkbenchError as error:
            return self._nothing(pieces.error(str(error)))
        samples = [path.name for path in find_samples(run)]
        newest = seen is not None and sample == seen[1]
        return shown | {self.sample: gr.update(choices=samples, value=samples[-1] if newest and samples else sample)}

    def sample_chosen(self, name: str | None, sample: str | None, request: gr.Request) -> dict[Any, Any]:
        """One sample, as a copy that this visitor alone gets."""
        hidden = {self.video: gr.update(value=None, visible=False), self.photo: gr.update(value=None, visible=False)}
        if not name or not sample:
            return hidden
        try:
            copy = self._copy(open_run(name, self._root), sample, request.session_hash)
        except WorkbenchError as error:
            return hidden | {self.words: pieces.error(str(error))}
        shown = self.photo if copy.suffix == ".png" else self.video
        return hidden | {shown: gr.update(value=str(copy), visible=True)}

    def refresh(self) -> Any:
        """The runs that are there now."""
        return gr.update(choices=self._names())

    def left(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._folders.forget(request.session_hash)

    def _curves(self, run: Path) -> dict[Any, Any]:
        mark, rows = _mark(run), read_metrics(run)
        return {
            self.seen: mark,
            self.words: run_words(run.relative_to(self._root), rows),
            self.curves: gr.update(value=pieces.on_any_background(training_curves(rows)), visible=bool(rows)),
        }

    def _copy(self, run: Path, sample: str, visitor: str | None) -> Path:
        found = {path.name: path for path in find_samples(run)}
        if sample not in found or not found[sample].resolve().is_relative_to(self._root):
            raise DataError(f"{sample}: no such sample of this run")
        folder = self._folders.new()
        self._folders.keep(visitor, folder)
        return Path(shutil.copy(found[sample], folder / sample))

    def _nothing(self, words: str) -> dict[Any, Any]:
        return {
            self.words: words,
            self.seen: None,
            self.curves: gr.update(visible=False),
            self.details: gr.update(visible=False),
            self.sample: gr.update(choices=[], value=None),
            self.timer: gr.update(active=False),
        }

    def _names(self) -> list[str]:
        return [str(run.relative_to(self._root)) for run in find_runs(self._root)]

    def _wire(self) -> None:
        page = [self.words, self.seen, self.curves, self.sample]
        self.run.focus(self.refresh, None, self.run, **SILENT)
        whole = [*page, self.config, self.details, self.timer]
        self.run.change(self.choose, self.run, whole, **SILENT)
        self.timer.tick(
            self.look_again, [self.run, self.seen, self.sample], [*page, self.details, self.timer], **SILENT
        )
        shown = [self.video, self.photo, self.words]
        self.sample.change(self.sample_chosen, [self.run, self.sample], shown, **SILENT)


def open_run(name: str, root: Path) -> Path:
    """The run folder of this name under `root`.

    Raises:
        ConfigError: it leads out of `root`; nothing is said about what is there.
        DataError: it is no run.
    """
    run = inside(root, name)
    if run is None:
        raise ConfigError(f"{name}: outside the folder that this app may open; start app.py with another --root")
    if not (run / METRICS_FILE).is_file():
        raise DataError(f"{name}: not a run (a folder with {METRICS_FILE}, as train.py writes it)")
    return run


def run_words(name: Path, rows: list[dict[str, Any]]) -> str:
    """HTML: how far the run is, and its best validation."""
    validated = [row for row in rows if row.get("val_psnr") is not None]
    text = f"<b>{html.escape(str(name))}</b>: step {rows[-1]['step'] if rows else 0}"
    if validated:
        best = max(validated, key=lambda row: row["val_psnr"])
        last = validated[-1]
        text += f"; validation {last['val_psnr']:.2f} dB at step {last['step']}"
        text += f", at best {best['val_psnr']:.2f} dB at step {best['step']}"
    return f'<div class="status" role="status">{text}.</div>'


def _mark(run: Path) -> tuple[int, str | None]:
    """What tells the log from how it was before: its time of change and the newest sample."""
    samples = find_samples(run)
    return (run / METRICS_FILE).stat().st_mtime_ns, samples[-1].name if samples else None
