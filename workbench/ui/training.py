"""The Training tab: the curves, samples and configuration of a run, while it goes on."""

import html
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import ConfigError, DataError, WorkbenchError, worded
from workbench.jobs.choices import inside
from workbench.jobs.folders import JobFolders
from workbench.jobs.runs import RunState, run_state
from workbench.training.runs import METRICS_FILE, find_runs, find_samples, read_config, read_metrics
from workbench.ui import pieces, work
from workbench.ui.components import IMAGE_BUTTONS, SILENT
from workbench.ui.labels import LABELS
from workbench.ui.words import time_words

_LOOK_AGAIN_S = 3.0
_IDLE = (
    '<div class="status idle">Choose a run: its curves and samples appear here, and follow it while it trains.</div>'
)


class TrainingTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        folders: for copies of the samples, since nothing of the run's own folder is served.
        root: the folder under which runs may be opened.
        tab: the tab around it; whenever it is opened, runs are looked for.
    """

    def __init__(self, folders: JobFolders, root: Path, tab: gr.Tab) -> None:
        self._folders, self._root = folders, root
        with gr.Row():
            self.runs = gr.Dropdown(
                self._names(),
                value=[],
                multiselect=True,
                allow_custom_value=True,
                label="Runs",
                info="folders that train.py wrote, under the app's root folder; samples are the first one's",
                elem_id="training-runs",
            )
            self.smoothing = gr.Slider(0.0, 0.99, 0.0, step=0.01, label="Smoothing", info="0: as logged")
        self.words = gr.HTML(_IDLE, elem_id="training-words")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=420):
                self.curves = gr.Plot(label="Curves", format="png", visible=False, elem_id="training-curves")
            with gr.Column(scale=2, min_width=300):
                self._lay_out_samples()
                with gr.Accordion("Configuration", open=False, visible=False) as self.details:
                    self.config = gr.JSON(show_label=False)
        self.seen, self.shown = gr.State(None), gr.State(None)
        self.timer = gr.Timer(_LOOK_AGAIN_S, active=False)
        self._wire(tab)

    def choose(self, names: list[str], smoothing: float) -> dict[Any, Any]:
        """Other runs: all of them."""
        if not names:
            return self._nothing(_IDLE)
        try:
            runs = {name: open_run(name, self._root) for name in names}
            config = read_config(next(iter(runs.values())))
            shown = self._curves(runs, smoothing)
        except WorkbenchError as error:
            return self._nothing(pieces.error(worded(error, LABELS.get)))
        last = len(find_samples(next(iter(runs.values())))) - 1
        return shown | {
            self.config: config,
            self.details: gr.update(visible=True),
            self.sample: _sample_slider(last, last),
            self.timer: gr.update(active=True),
        }

    def look_again(self, names: list[str], seen: Any, sample: int, smoothing: float) -> dict[Any, Any]:
        """What is new in the runs; nothing is drawn anew where nothing is. A newer sample replaces the newest one."""
        if not names:  # the clock ticked once more
            return self._nothing(_IDLE)
        try:
            runs = {name: open_run(name, self._root) for name in names}
            if _mark(runs) == seen:
                return {self.seen: gr.skip()}
            shown = self._curves(runs, smoothing)
        except WorkbenchError as error:
            return self._nothing(pieces.error(worded(error, LABELS.get)))
        last = len(find_samples(next(iter(runs.values())))) - 1
        stood_last = seen is not None and sample >= seen[0][1] - 1
        slider = _sample_slider(last, last if stood_last else sample)
        return shown | {self.sample: slider, self.runs: gr.update(choices=self._names())}

    def sample_chosen(self, names: list[str], sample: int, shown: Any, request: gr.Request) -> dict[Any, Any]:
        """One sample of the first run, as a copy that this visitor alone gets; nothing where it is `shown` already."""
        hidden = {
            self.video: gr.update(value=None, visible=False),
            self.photo: gr.update(value=None, visible=False),
            self.sample_name: "",
            self.shown: None,
        }
        try:
            found = self._sample(names, int(sample))
        except WorkbenchError as error:
            return hidden | {self.words: pieces.error(worded(error, LABELS.get))}
        if found is None:
            return hidden
        if shown == str(found):
            return {self.shown: gr.skip()}
        folder = self._folders.new()
        copy = Path(shutil.copy(found, folder / found.name))
        self._folders.keep(request.session_hash, folder)
        player = self.photo if copy.suffix == ".png" else self.video
        words = {self.sample_name: html.escape(copy.stem), self.shown: str(found)}
        return hidden | words | {player: gr.update(value=str(copy), visible=True)}

    def refresh(self, names: list[str]) -> Any:
        """The runs that are there now; the one that was written to last where none is chosen."""
        found = self._names()
        return gr.update(choices=found, value=names or found[:1])

    def left(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._folders.forget(request.session_hash)

    def _curves(self, runs: dict[str, Path], smoothing: float) -> dict[Any, Any]:
        mark, rows = _mark(runs), {name: read_metrics(run) for name, run in runs.items()}
        states = {name: run_state(run, rows[name]) for name, run in runs.items()}
        drawn = work.training_curves(rows, smoothing)
        return {
            self.seen: mark,
            self.words: "".join(run_words(name, states[name], rows[name]) for name in runs),
            self.curves: gr.update(value=pieces.on_any_background(drawn), visible=any(rows.values())),
        }

    def _sample(self, names: list[str], index: int) -> Path | None:
        """None where there is no run, or it has no sample yet."""
        samples = find_samples(open_run(names[0], self._root)) if names else []
        if not samples:
            return None
        sample = samples[max(0, min(index, len(samples) - 1))]
        if not sample.resolve().is_relative_to(self._root):
            raise DataError(f"{sample.name}: no such sample of this run")
        return sample

    def _nothing(self, words: str) -> dict[Any, Any]:
        return {
            self.words: words,
            self.seen: None,
            self.curves: gr.update(visible=False),
            self.details: gr.update(visible=False),
            self.sample: _sample_slider(-1, 0),
            self.timer: gr.update(active=False),
        }

    def _names(self) -> list[str]:
        return [str(run.relative_to(self._root)) for run in find_runs(self._root)]

    def _lay_out_samples(self) -> None:
        self.sample = gr.Slider(0, 1, 0, step=1, label="Sample", info="of the validation passes", visible=False)
        self.sample_name = gr.HTML("", elem_id="training-sample", elem_classes="summary-box")
        playing: dict[str, Any] = {"loop": True, "autoplay": True, "elem_id": "training-video"}
        self.video = gr.Video(label="Original and reconstruction", visible=False, **playing)
        self.photo = gr.Image(label="Original and reconstruction", format="png", visible=False, buttons=IMAGE_BUTTONS)

    def _wire(self, tab: gr.Tab) -> None:
        page = [self.words, self.seen, self.curves, self.sample]
        events: list[Any] = [tab.select, self.runs.focus]
        for opened in events:
            opened(self.refresh, self.runs, self.runs, **SILENT)
        whole = [*page, self.config, self.details, self.timer]
        looked = [self.runs, self.seen, self.sample, self.smoothing]
        changes = [self.runs.change(self.choose, [self.runs, self.smoothing], whole, **SILENT)]
        changes.append(self.timer.tick(self.look_again, looked, [*page, self.details, self.timer, self.runs], **SILENT))
        self.smoothing.release(self.choose, [self.runs, self.smoothing], whole, **SILENT)
        shown = [self.video, self.photo, self.sample_name, self.words, self.shown]
        events = [*(one.then for one in changes), self.sample.release]
        for change in events:
            change(self.sample_chosen, [self.runs, self.sample, self.shown], shown, **SILENT)


def _sample_slider(last: int, value: int) -> Any:
    return gr.update(maximum=max(last, 1), value=max(0, min(value, last)), visible=last > 0)


def open_run(name: str, root: Path) -> Path:
    """The run folder of this name under `root`.

    Raises:
        ConfigError: it leads out of `root`; nothing is said about what is there.
        DataError: it is no run.
    """
    run = inside(root, name)
    if run is None:
        raise ConfigError(f"{name}: outside the folder that may be opened; choose another `root`")
    if not (run / METRICS_FILE).is_file():
        raise DataError(f"{name}: not a run (a folder with {METRICS_FILE}, as train.py writes it)")
    return run


def run_words(name: str, state: RunState, rows: list[dict[str, Any]]) -> str:
    """HTML: how the run fares, and its best validation."""
    of = f" of {state.total}" if state.total else ""
    text = f"<b>{html.escape(name)}</b>: {state.state}, step {state.step}{of}"
    if state.seconds_left is not None:
        text += f", about {time_words(state.seconds_left)} left"
    if state.lr is not None:
        text += f", learning rate {state.lr:.3g}"
    validated = [row for row in rows if row.get("val_psnr") is not None]
    if validated:
        best = max(validated, key=lambda row: row["val_psnr"])
        last = validated[-1]
        text += f"; validation {last['val_psnr']:.2f} dB at step {last['step']}"
        text += f", at best {best['val_psnr']:.2f} dB at step {best['step']}"
    return f'<div class="status" role="status">{text}.</div>'


def _mark(runs: dict[str, Path]) -> list[tuple[int, int]]:
    """What tells logs from how they were before: of each the time of change, and how many samples there are."""
    return [((run / METRICS_FILE).stat().st_mtime_ns, len(find_samples(run))) for run in runs.values()]
