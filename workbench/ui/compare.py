"""The Compare tab: several models on one clip, in one table, one video and the same plots."""

import html
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.jobs.compare import DOWNLOADS, Comparison, compare_job, stages_of
from workbench.jobs.folders import JobFolders
from workbench.jobs.found_models import BASELINE, find_models, pick
from workbench.jobs.shelf import ModelShelf
from workbench.metrics.lpips import lpips_available
from workbench.metrics.measure import METRICS
from workbench.steps import Steps
from workbench.ui import pieces
from workbench.ui.clip_inputs import ClipInputs, choices_of
from workbench.ui.components import SILENT
from workbench.ui.images import IMAGE_BUTTONS
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import explainer
from workbench.ui.uploads import Uploads

_DOWNLOAD_LABELS = ("Grid", "Results (CSV)", "Frames (CSV)", "Results (JSON)")
_COSTS = {"encode_total_s": "Encode (s)", "decode_total_s": "Decode (s)", "peak_memory_mb": "Peak memory (MB)"}
_SHOWN_METRICS = ("psnr", "ssim", "lpips", "temporal_error")
_MOST_MODELS = 6


class CompareTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        root: the folder under which models are looked for.
        device: the device chosen at first.
    """

    def __init__(
        self, folders: JobFolders, uploads: Uploads, models: ModelShelf, root: Path, device: str | None
    ) -> None:
        self._uploads, self._models, self._root = uploads, models, root
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.clip = ClipInputs(device, max_frames=32, resolution="256")
                uploads.watch(self.clip.source)
                self._lay_out_models()
                self.panel = JobPanel(folders, "compare", "Compare")
            with gr.Column(scale=3, min_width=300):
                self.panel.lay_out_idle("The models' reconstructions play here side by side, in step.")
                self._lay_out_results()
        outputs = [self.video, self.picture, self.table, self.curves, *self.downloads]
        self.panel.wire(self.run, [*self.clip.components, self.labels], self.results, outputs, "compare")

    def run(
        self,
        source: str | None,
        max_frames: float | None,
        resolution: str | None,
        device: str,
        labels: list[str],
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """The comparison as updates of the page, one after every tile."""
        choices = choices_of(source, max_frames, resolution, device)
        chosen = _with_baseline(labels)
        explain = explainer(choices, self._root)

        def start(folder: Path) -> Steps[Comparison]:
            if len(chosen) > _MOST_MODELS:
                raise ConfigError(f"{len(chosen)} models at once: choose at most {_MOST_MODELS}, with {BASELINE}")
            entries = pick(chosen, self._root)
            return (yield from compare_job(choices, entries, self._models, folder, explain))

        with self._uploads.used(source, request.session_hash):
            yield from self.panel.run(start, self._shown, explain, request.session_hash, stages_of(len(chosen)))

    def refresh(self) -> Any:
        """The models that are there now."""
        return gr.update(choices=list(find_models(self._root)))

    def _shown(self, comparison: Comparison) -> dict[Any, Any]:
        files = comparison.downloads
        grid, is_image = str(files["grid"]), comparison.is_image
        return {
            self.video: gr.update(value=None if is_image else grid, visible=not is_image),
            self.picture: gr.update(value=grid if is_image else None, visible=is_image),
            self.table: comparison_table(comparison),
            self.curves: gr.update(value=pieces.on_any_background(comparison.curves), visible=not is_image),
            **{button: str(files[name]) for button, name in zip(self.downloads, DOWNLOADS, strict=True)},
        }

    def _lay_out_models(self) -> None:
        found = list(find_models(self._root))
        others = [label for label in found if label != BASELINE]
        self.labels = gr.Dropdown(
            found,
            value=[*others[:1], BASELINE],
            multiselect=True,
            label="Models",
            info=f"weights under the app's root folder; {BASELINE} is always there, as the bar for all others",
        )
        self.labels.focus(self.refresh, None, self.labels, **SILENT)

    def _lay_out_results(self) -> None:
        with gr.Column(visible=False) as self.results:
            self.video = gr.Video(
                label="All in step", show_label=False, loop=True, autoplay=True, elem_id="compare-video"
            )
            self.picture = gr.Image(show_label=False, format="png", visible=False, buttons=IMAGE_BUTTONS)
            self.table = gr.HTML("", elem_id="compare-table", elem_classes="summary-box")
            with gr.Row():
                self.downloads = [gr.DownloadButton(label, size="sm", min_width=120) for label in _DOWNLOAD_LABELS]
            self.curves = gr.Plot(label="Frame by frame", format="png")


def _with_baseline(labels: Sequence[str]) -> list[str]:
    return [*labels, *({BASELINE} - set(labels))]


def comparison_table(comparison: Comparison) -> str:
    """HTML: one row a model, the best value of each metric in bold, and notes."""
    metrics = [name for name in _SHOWN_METRICS if any(name in row for row in comparison.rows)]
    costs = [name for name in _COSTS if any(math.isfinite(row[name]) for row in comparison.rows)]
    heads = ["Model", "Values in : out", *map(_metric_head, metrics), *(_COSTS[name] for name in costs)]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    best = {name: _best(name, comparison.rows) for name in metrics}
    rows = "".join(_row(row, metrics, best, costs) for row in comparison.rows)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _notes(comparison))
    return (
        f'<div style="overflow-x: auto"><table class="metrics"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}"
    )


def _metric_head(name: str) -> str:
    metric = METRICS[name]
    unit = f" <small>({metric.unit})</small>" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def _row(row: dict[str, Any], metrics: Sequence[str], best: dict[str, str], costs: Sequence[str]) -> str:
    values = {name: _metric(row.get(name)) for name in metrics}
    cells = [f"{row['compression']:.3g} : 1"]
    cells += [f"<b>{value}</b>" if value == best[name] else value for name, value in values.items()]
    cells += [f"{row[name]:.3g}" if row[name] < 100 else f"{row[name]:.0f}" for name in costs]
    label = html.escape(row["model"])
    wrapped = 'style="overflow-wrap: anywhere; min-width: 9em"'  # a long name must not push the last columns out
    return f'<tr><th scope="row" {wrapped}>{label}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _best(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """The best value as it is shown, so that models which differ in hidden digits alone share it."""
    pick_best = max if METRICS[name].higher_is_better else min
    return _metric(pick_best(row[name] for row in rows if name in row))


def _metric(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _notes(comparison: Comparison) -> Iterator[str]:
    yield (
        "Metrics are means over the frames, taken before the video is compressed for the browser. Arrows point to the "
        "better side. Times include what else runs on this computer at the same moment."
    )
    if not any(math.isfinite(row["peak_memory_mb"]) for row in comparison.rows):
        yield (
            "Peak memory is left out: on a CPU it cannot be told apart from that of the rest of the app. The Tiles tab "
            "counts what a model needs inside a tile."
        )
    if not lpips_available():
        yield "LPIPS is left out: the VGG-16 weights that it needs are not on this computer."
    yield from (f"Note: {warning}." for warning in comparison.warnings)
    yield from (f"{label} is left out: {reason}" for label, reason in comparison.failures.items())
