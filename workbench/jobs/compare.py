"""Several models on one clip: measured as `python -m workbench evaluate` measures, and shown in one grid."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from workbench.compare.figures import metric_curves
from workbench.compare.grid import grid
from workbench.config import to_dict
from workbench.devices import pick_device
from workbench.errors import WorkbenchError
from workbench.evaluate.clip import ClipResult, evaluate_steps, read_frames, warm_up
from workbench.evaluate.instruments import Instruments, Original
from workbench.evaluate.run import Evaluation
from workbench.evaluate.settings import SIDE_MULTIPLE
from workbench.evaluate.summary import all_frame_rows, clip_rows
from workbench.files import write_csv, write_json
from workbench.jobs.choices import Choices
from workbench.jobs.reconstruct import safe_stem
from workbench.jobs.shelf import ModelShelf
from workbench.media.image import write_image
from workbench.media.source import CHUNK_FRAMES, ClipSource, open_clip_steps
from workbench.media.writer import VideoWriter
from workbench.metrics.lpips import load_lpips_if_available, usual_every
from workbench.models.ref import ModelRef
from workbench.roundtrip.progress import WRITE
from workbench.steps import Progress, Steps

DOWNLOADS = ("grid", "csv", "frames_csv", "json")
"""The files that a visitor can take along, by name."""


@dataclass(frozen=True)
class Comparison:
    """What is shown of a finished comparison.

    Attributes:
        rows: one for each model, as in the results.csv of `evaluate`, the peak memory NaN on a CPU.
        failures: by label, why a model has no row.
        downloads: a file for every name in DOWNLOADS; `grid` is a video, or a picture of a photo.
    """

    rows: list[dict[str, Any]]
    failures: dict[str, str]
    warnings: tuple[str, ...]
    curves: go.Figure
    is_image: bool
    downloads: dict[str, Path]


def stages_of(models: int) -> int:
    """Each model encodes and decodes; then the video is written."""
    return 2 * models + 1


def compare_job(
    choices: Choices,
    entries: Sequence[ModelRef],
    models: ModelShelf,
    folder: Path,
    explain: Callable[[WorkbenchError], str],
) -> Steps[Comparison]:
    """Compare models into `folder`, one after the other, yielding a Progress after every tile, then a few frames.

    A model that fails on this clip is left out and named, with the reason as `explain` puts it.

    Raises:
        FileError: the clip is missing, cannot be read or not into memory, or the disk is full.
        WorkbenchError: no model could do it.
    """
    clip = yield from open_clip_steps(choices.path, choices.policy, SIDE_MULTIPLE)
    frames = read_frames(clip)
    device = pick_device(choices.device)
    lpips = load_lpips_if_available(device, usual_every(device))
    original = Original(frames, Instruments({"lpips": lpips} if lpips else {}), clip.fps, keep=len(entries) > 1)
    results: dict[str, ClipResult] = {}
    panels, failures = {"original": frames}, {}
    for entry in entries:
        try:
            results[entry.label], panels[entry.label] = yield from _evaluate(entry, choices, clip, original, models)
        except WorkbenchError as error:
            failures[entry.label] = explain(error)
    if not results:
        raise WorkbenchError("; ".join(f"{label}: {reason}" for label, reason in failures.items()))
    files = _files(choices.path, folder, clip.info.is_image)
    yield from _write_grid(files["grid"], panels, clip)
    rows = _write_tables(files, choices, results, failures)
    curves = metric_curves({label: result.metrics for label, result in results.items()}, clip.timestamps_s)
    return Comparison(rows, failures, clip.warnings, curves, clip.info.is_image, files)


def _evaluate(
    entry: ModelRef,
    choices: Choices,
    clip: ClipSource,
    original: Original,
    models: ModelShelf,
) -> Steps[tuple[ClipResult, Tensor]]:
    """Load and measure one model; its progress is of stages of its own."""
    ae = models.load(entry, choices.device)
    warm_up(ae)
    steps = evaluate_steps(ae, clip, original, choices.tiling)
    try:
        while True:
            progress = next(steps)
            yield Progress(f"{entry.label}: {progress.stage}", progress.done, progress.total)
    except StopIteration as stop:
        result, output, _ = stop.value
        return _without_false_peak(result, ae.device), output
    finally:
        steps.close()


def _without_false_peak(result: ClipResult, device: torch.device) -> ClipResult:
    """On a CPU the peak is that of the whole process, in which models before this one have left memory to be used
    again, and other visitors' jobs run: the figure would depend on the order of the models."""
    return result if device.type == "cuda" else replace(result, peak_memory_mb=math.nan)


def _files(source: Path, folder: Path, is_image: bool) -> dict[str, Path]:
    stem = safe_stem(source)
    names = (f"comparison{'.png' if is_image else '.mp4'}", "results.csv", "frames.csv", "results.json")
    return {download: folder / f"{stem}_{name}" for download, name in zip(DOWNLOADS, names, strict=True)}


def _write_grid(path: Path, panels: Mapping[str, Tensor], clip: ClipSource) -> Iterator[Progress]:
    if clip.info.is_image:
        write_image(grid(panels)[0], path)
        return
    with VideoWriter(path, clip.fps, last_duration_s=clip.last_duration_s) as writer:
        for start, frames in _grids(panels, clip.num_frames):
            times = clip.timestamps_s and clip.timestamps_s[start : start + len(frames)]
            writer.write(frames, times)
            yield Progress(WRITE, start + len(frames), clip.num_frames)


def _grids(panels: Mapping[str, Tensor], num_frames: int) -> Iterator[tuple[int, Tensor]]:
    """The grid a few frames at a time, with the number of the first: all of it would be large."""
    for start in range(0, num_frames, CHUNK_FRAMES):
        yield start, grid({label: frames[start : start + CHUNK_FRAMES] for label, frames in panels.items()})


def _write_tables(
    files: Mapping[str, Path], choices: Choices, results: Mapping[str, ClipResult], failures: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The tables as files, with the clip's name but not the server's folders; returns the row of each model."""
    name = Path(choices.path.name)
    evaluation = Evaluation({}, {}, {label: {name: result} for label, result in results.items()}, {})
    rows = list(clip_rows(evaluation))
    settings = {"frames": to_dict(choices.policy), "tiling": to_dict(choices.tiling), "device": choices.device}
    write_csv(files["csv"], rows)
    write_csv(files["frames_csv"], list(all_frame_rows(evaluation)))
    write_json(files["json"], {"settings": settings, "clips": rows, "failures": dict(failures)})
    return rows
