"""The Tiles tab: how a clip is cut, what that costs, and whether it shows."""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.errors import WorkbenchError, worded
from workbench.jobs.choices import Choices
from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.models.catalogue import MODELS, PREFIX
from workbench.models.ref import ModelRef
from workbench.steps import Steps
from workbench.tile_settings import FIXED_MODES
from workbench.ui import pieces, work
from workbench.ui.clip import ClipPanel
from workbench.ui.components import RAW, SILENT, choices_of, models_list
from workbench.ui.job_panel import JobPanel
from workbench.ui.labels import LABELS, explainer
from workbench.ui.words import size_words
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.jobs.tiles import ModeCost, PlannedTiles, SeamReport
    from workbench.models.base import Autoencoder

_MOST_TILE_PIXELS = 768
_FIRST_TILE_PIXELS = 128  # small clips too are cut, and have seams to look for
_MOST_TILE_LATENTS = 16  # in time
_MAP_WIDTH = 700  # pixels of the page that the maps' height is chosen for
_ROUNDING = 0.01  # grey levels; below, a difference is that of 32-bit sums in another order
_HIDDEN = gr.update(visible=False)
_CAPTION = "The tiles of a frame; yellow is what several of them give"
_UNLESS_TYPED = """(own, ...now) => own.map(({ was, slider: { value, ...bounds } }, index) =>
  ({ __type__: "update", ...bounds, ...(now[index] === was ? { value } : {}) }))"""
"""A slider gets the model's value only where the visitor has not moved it meanwhile."""


class TilesTab:
    """Lays out the tab in the Blocks around it; its methods are the callbacks.

    Args:
        root: the folder under which models are looked for.
    """

    def __init__(
        self,
        folders: JobFolders,
        queue: JobQueue,
        model: LoadedModel,
        root: Path,
        clip: ClipPanel,
    ) -> None:
        self._model, self._root, self.clip = model, root, clip
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._lay_out_tiles()
                self.ways = gr.CheckboxGroup(
                    list(FIXED_MODES), value=list(FIXED_MODES), label="Modes to compare", info="each runs the clip once"
                )
                self.panel = JobPanel(folders, queue, "tiles", "Look for seams")
            with gr.Column(scale=3, min_width=420):
                self._lay_out_plan()
                self.panel.lay_out_idle("Maps of what each mode changes, against the clip in one piece, appear here.")
                self._lay_out_seams()
        self.panel.wire(self.run, [self.ways, *self._chosen], self.results, [self.seam_map, self.jumps])

    def wire(self, page: gr.Blocks, tabs: gr.Tabs) -> None:
        """Plan while the tab is open; the first model's own sizes come with the page."""
        planned = [self.is_open, self.at, *self._chosen]
        plan = [self.picture, self.time, self.words, self.modes]
        sizes = [self.side, self.frames]
        tabs.select(self.opened, None, self.is_open, **SILENT)
        chosen = gr.on([self.model.change, page.load], self.model_chosen, [self.model, *sizes], self.own, **SILENT)
        settled = chosen.then(None, [self.own, *sizes], sizes, js=_UNLESS_TYPED, **SILENT)
        settled.then(self.plan_if_open, planned, plan, **RAW)
        components = [self.is_open, self.at, *self._chosen[1:]]
        changes = [component.change for component in components]
        gr.on(changes, self.plan_if_open, planned, plan, trigger_mode="always_last", **RAW)

    @property
    def _chosen(self) -> list[Any]:
        return [self.model, self.side, self.frames, self.overlap, *self.clip.components]

    @staticmethod
    def opened(event: gr.SelectData) -> bool:
        """Whether this tab is the one that was selected."""
        return event.value == "Tiles"

    def plan_if_open(self, is_open: bool, *planned: Any) -> Iterator[dict[Any, Any]]:
        """The plan, which takes seconds, where somebody looks at it."""
        if is_open:
            yield from self.plan(*planned)

    def plan(
        self, at: float, label: str, side: float, frames: float, overlap: float, *clip: Any
    ) -> Iterator[dict[Any, Any]]:
        """The plan over a frame of the clip and in words, then the modes beside each other, each once it is counted.

        Args:
            at: the frame that the player stands on.
        """
        choices = tile_choices(clip, side, frames, overlap)
        nothing = {self.picture: "", self.time: _HIDDEN, self.modes: ""}
        if not choices.source or choices.is_latents:
            yield nothing | {self.words: ""}
            return
        try:
            ae = work.typed_shape(self._entry(label), choices.device)
            planned = work.plan_tiles(choices, ae, int(at))
        except WorkbenchError as error:
            yield nothing | {self.words: pieces.error(explainer(choices, self._root)(error))}
            return
        time = planned.plans[1].time
        yield {
            self.picture: pieces.figure(work.tile_picture(planned.frame, planned.plans[1]), _CAPTION),
            self.time: gr.update(value=pieces.on_any_background(work.time_figure(time)), visible=len(time.spans) > 1),
            self.words: plan_words(planned),
            self.modes: mode_table((), ae.default_tiling_mode),
        }
        size, costs = (planned.num_frames, *planned.frame.shape[1:]), []
        for cost in work.mode_costs(ae, size, choices.tiling):
            costs.append(cost)
            yield {self.modes: mode_table(costs, ae.default_tiling_mode)}

    def run(
        self, request: gr.Request, ways: list[str], label: str, side: float, frames: float, overlap: float, *clip: Any
    ) -> Iterator[dict[Any, Any]]:
        """The search for seams as updates of the page."""
        choices = tile_choices(clip, side, frames, overlap)

        def start(_: Path) -> Steps["SeamReport"]:
            ae = self._model.load(self._entry(label), choices.device)
            return (yield from work.seam_job(choices, ae, ways))

        explain = explainer(choices, self._root)
        yield from self.panel.run(start, self._shown, explain, request.session_hash, stages=2 + 2 * len(ways))

    @staticmethod
    def follow(event: gr.EventData) -> int:
        """The frame that the player stands on."""
        return int(event.frame)

    def model_chosen(self, label: str, *were: float) -> list[dict[str, Any]]:
        """For the sliders of a tile's sizes, whose values these `were`: the model's own."""
        sliders = _slider_values(work.shape_of(self._entry(label)))
        return [{"was": was, "slider": slider} for was, slider in zip(were, sliders, strict=True)]

    def _shown(self, report: "SeamReport") -> dict[Any, Any]:
        if not report.rows:
            text = "<p>The whole clip is one tile: there is no seam to look for. Choose smaller tiles.</p>"
            return {self.seam_map: _HIDDEN, self.jumps: text}
        table = {self.jumps: seam_table(report)}
        maps = {row.way: row.seams.map_HW for row in report.rows if row.largest >= _ROUNDING}
        if not maps:
            return table | {self.seam_map: _HIDDEN}
        figure = work.map_figure(maps, "grey levels")
        height, width = report.rows[0].seams.map_HW.shape
        figure.update_layout(height=min(600, 190 + round(_MAP_WIDTH / len(maps) * height / width)))
        return table | {self.seam_map: gr.update(value=pieces.on_any_background(figure), visible=True)}

    def _entry(self, label: str) -> ModelRef:
        """The model; one of MODELS without weights here can be planned for, and says itself that it cannot run."""
        return ModelRef(label) if label in MODELS else work.pick([label], self._root)[0]

    def _labels(self) -> list[str]:
        """Models to plan for: those that can run first, then all at their published size, beside a small run too."""
        found = [label for label in work.find_models(self._root) if not label.startswith(PREFIX)]
        return [*found, *(name for name in MODELS if name not in found)]

    def _lay_out_tiles(self) -> None:
        self.at, self.own = gr.Number(0, visible=False), gr.JSON(visible=False)
        self.is_open = gr.Checkbox(False, visible=False)
        self.model = models_list(self._labels, label="Model", info="one without weights can be planned for")
        self.side = gr.Slider(0, _MOST_TILE_PIXELS, _FIRST_TILE_PIXELS, label="Tile side", info="pixels")
        self.frames = gr.Slider(label="Tile frames")
        self.overlap = gr.Slider(0.0, 0.5, 0.25, step=0.05, label="Overlap", info="share of a tile")

    def _lay_out_plan(self) -> None:
        self.picture = gr.HTML("", elem_id="tiles-plan", elem_classes="summary-box")
        self.words = gr.HTML("", elem_id="tiles-words", elem_classes="summary-box")
        self.modes = gr.HTML("", elem_id="tiles-modes", elem_classes="summary-box")
        self.time = gr.Plot(label="Tiles in time", format="png", visible=False)

    def _lay_out_seams(self) -> None:
        with gr.Column(visible=False) as self.results:
            self.jumps = gr.HTML("", elem_id="tiles-jumps", elem_classes="summary-box")
            self.seam_map = gr.Plot(label="Difference to one piece", format="png", elem_id="tiles-map")


def tile_choices(clip: Sequence[Any], side: float, frames: float, overlap: float) -> Choices:
    """The clip's choices, cut into tiles of this size."""
    chosen = choices_of(*clip)
    return replace(chosen, mode="tiles", spatial_tile_size=side, temporal_tile_size=frames, tile_overlap_factor=overlap)


def _slider_values(ae: "Autoencoder") -> tuple[dict[str, Any], dict[str, Any]]:
    """Bounds, step and first value of a tile's side and of its frames: legal sizes only."""
    side = {"minimum": ae.spatial_stride, "maximum": _MOST_TILE_PIXELS, "step": ae.spatial_stride}
    first, last = (ae.frames_of(latents) for latents in (1 + int(ae.causal), _MOST_TILE_LATENTS))
    frames = {"minimum": first, "maximum": last, "step": ae.temporal_stride}
    return (
        side | {"value": min(_FIRST_TILE_PIXELS, ae.default_tile_pixels)},
        frames | {"value": ae.default_tile_frames},
    )


def plan_words(planned: "PlannedTiles") -> str:
    """HTML: how many tiles of what size."""
    tiles, in_time = planned.plans[0], len(planned.plans[0].time.spans)
    frames, height, width = tiles.tile_shape
    return (
        f"<p><b>{counted(len(tiles), 'tile')}</b> of {counted(frames, 'frame')}, {width}×{height}: "
        f"{tiles.spatial_tiles} in a frame, {in_time} in time.</p>"
    )


def mode_table(costs: Sequence["ModeCost"], default: str) -> str:
    """HTML: every mode with what its stages do, its work and its memory; why the model cannot be run in another, and
    which are not among the `costs` yet."""
    rows: list[tuple[str, ...]] = []
    for cost in costs:
        name = cost.mode + (" (this model's own)" if cost.mode == default else "")
        if cost.refused:
            rows.append((name, html.escape(worded(cost.refused, LABELS.get))))
            continue
        numbers = f"{cost.operations / 1e12:.3g}", f"{cost.work:.2f}×", size_words(cost.peak_bytes)
        rows.append((name, "<br>".join(map(html.escape, cost.stages)), *numbers))
    rows += [(name, "being counted") for name in work.WAYS[len(costs) :]]
    note = (
        "To encode and decode the clip. Work is what overlaps cost: 1 where every stage reads its input once; memory "
        "is counted, with weights and frames. Streamed layers take whole frames, so many at once. Attention is cut "
        "into the tiles drawn here (stages) or runs of whole frames (frames), or looks at windows as large as a tile "
        "(windows); a model without attention does the same in all three."
    )
    return f"{pieces.table(('Mode', 'Stages', 'TFLOP', 'Work', 'Memory'), rows)}<p>{note}</p>"


def seam_table(report: "SeamReport") -> str:
    """HTML: every mode against the clip in one piece and against the original, and its jumps at borders of tiles."""
    rows: list[tuple[str, ...]] = []
    for row in report.rows:
        way, quality, difference, largest, *jumps = row.figures.values()
        seen = [f"{jump:.3g}" if row.largest >= _ROUNDING and not math.isnan(jump) else "–" for jump in jumps]
        rows.append((way, f"{quality:.2f}", f"{difference:.3g}", f"{largest:.3g}", *seen))
    rows += [(mode, html.escape(worded(why, LABELS.get))) for mode, why in report.refused.items()]
    heads = "Mode", "PSNR, dB", "Mean difference", "Largest", "Jump in time", "Height", "Width"
    text = f"<p>{counted(report.num_frames, 'frame')}, {counted(report.tiles, 'tile')} in mode tiles.</p>"
    if all(row.largest < _ROUNDING for row in report.rows):
        note = "All of it is one piece but for rounding: these modes leave no seam with this model."
    else:
        note = (
            "PSNR is against the original; differences are to the clip in one piece, in grey levels of 255. A jump is "
            "how many times more that difference changes where tiles meet than elsewhere: well above 1 is a seam. "
            "Overlaps turn edges into soft bands, which only the maps show."
        )
    return f"{text}{pieces.table(heads, rows)}<p>{note}</p>"
