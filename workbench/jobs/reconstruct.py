"""One reconstruction of the app: from what was chosen to files, figures and a table. Knows nothing of pages."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.compare.clip_report import Reported, clip_html
from workbench.compare.side_by_side import DIFFERENCE_GAIN
from workbench.config import to_dict
from workbench.files import write_text
from workbench.jobs.choices import Choices
from workbench.jobs.clip import Asked, clip_job
from workbench.jobs.estimate import taken_size
from workbench.jobs.exact import exact_path, keeps_exact_frames
from workbench.media.image import write_image
from workbench.media.info import MediaInfo
from workbench.media.reader import probe
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.stream import open_stream
from workbench.metrics.lpips import load_lpips_if_available, usual_every
from workbench.metrics.measure import METRICS
from workbench.metrics.statistics import Spread, spread
from workbench.models.auto import Ran
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.models.ref import ModelRef
from workbench.roundtrip.outputs import Outputs
from workbench.roundtrip.result import FileReport
from workbench.steps import Steps
from workbench.tile_settings import Tiling
from workbench.tiling import TilePlan
from workbench.words import counted, overlap_words

DOWNLOADS = ("reconstruction", "side_by_side", "metrics_csv", "metrics_json", "report")
"""The files that a visitor can take along, by name."""

STAGES = 3
"""Encoding, decoding and measuring; the tables and the report at the end take little."""

_THUMBNAIL_SIDE = 112


@dataclass(frozen=True)
class ClipPair:
    """What the player shows: two files of one size and length that browsers play (.mp4, or .png for photos).

    Attributes:
        job: the name of the job's folder where exact frames can be had, else None.
        times_s: presentation time of each frame where the rate varies.
    """

    original: Path
    output: Path
    is_image: bool
    num_frames: int
    fps: float
    height: int
    width: int
    job: str | None
    times_s: Sequence[float] | None = None


@dataclass(frozen=True)
class JobResult:
    """What is shown of a finished job. `downloads` has a file for every name in DOWNLOADS once `finish_job` has run.

    Attributes:
        label: of the model, as lists have it.
        settings: what it was made from and with, in words by name.
        times_s: presentation time of each frame; None for a photo.
        thumbnail: a small picture of the first frame of the output.
        lpips_every: LPIPS was measured on one frame in so many; None where it was not, or not yet.
    """

    label: str
    report: FileReport
    settings: dict[str, str]
    times_s: list[float] | None
    pair: ClipPair
    downloads: dict[str, Path]
    worst_frame: Path
    thumbnail: Path
    lpips_every: int | None


@dataclass(frozen=True, kw_only=True)
class _JobOutputs(Outputs):
    """The files of a job, all of which are written, but for the video of both sides where `finish_job` can do that."""

    reconstruction: Path
    original: Path
    worst_frame: Path


def reconstruct_job(choices: Choices, entry: ModelRef, ae: Autoencoder, folder: Path) -> Steps[JobResult]:
    """Reconstruct into `folder`, yielding a Progress after every tile and few frames; closing removes partial files.

    LPIPS, which takes a CPU longer than all else, and the video of both sides, which nobody waits for, are left to
    `finish_job` where exact frames are kept.

    Raises:
        FileError: the clip is missing or cannot be read, or the disk is full.
        ConfigError: a choice is not possible for this model or clip.
    """
    info = probe(choices.path)
    outputs = _outputs(choices, info, ae, folder)
    lpips = None if outputs.pairs else load_lpips_if_available(ae.device, usual_every(ae.device))
    stem = folder / outputs.original.stem.removesuffix("original")
    settings = {"tiling": to_dict(choices.tiling), "frames": to_dict(choices.policy), "device": choices.device}
    asked = Asked(choices.tiling, choices.policy, settings, lpips)
    written = yield from clip_job(ae, choices.path, outputs, asked, f"{stem}metrics", hide_folders=True)
    report, tables = written.report, (written.metrics_csv, written.metrics_json)
    times = None if info.is_image else [report.time_of(frame) for frame in range(report.num_frames)]
    files = (outputs.reconstruction, outputs.side_by_side, *tables, Path(f"{stem}report.html"))
    downloads = {name: file for name, file in zip(DOWNLOADS, files, strict=True) if file}
    result = JobResult(
        label=entry.label,
        report=report,
        settings=_settings(choices, entry, ae, report, info.is_image),
        times_s=times,
        pair=_pair(report, outputs, info),
        downloads=downloads,
        worst_frame=outputs.worst_frame,
        thumbnail=_write_thumbnail(outputs.reconstruction, folder),
        lpips_every=lpips.every if lpips else None,
    )
    write_report(result)
    return result


def spreads(metrics: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    """Mean, median, one in twenty and worst of every metric that has a value."""
    found = {name: spread(values, METRICS[name].higher_is_better) for name, values in metrics.items()}
    return {name: one for name, one in found.items() if one is not None}


def reported(result: JobResult) -> Reported:
    """The result as a report shows it."""
    report = result.report
    facts = result.settings | _costs(report)
    if (result.lpips_every or 1) > 1 and report.num_frames > 1:
        facts["LPIPS"] = f"of one frame in {result.lpips_every}"
    table = {name: (one.mean, one.median, one.low, one.worst) for name, one in spreads(report.metrics).items()}
    return Reported(facts, report.warnings, report.metrics, table, result.times_s, result.worst_frame)


def write_report(result: JobResult) -> None:
    """The page of this result alone, which is one of its downloads."""
    write_text(result.downloads["report"], clip_html([reported(result)], DIFFERENCE_GAIN))


def _write_thumbnail(reconstruction: Path, folder: Path) -> Path:
    with open_stream(reconstruction, max_frames=1) as stream:
        frame = next(stream)
    size = plan_resize(min(_THUMBNAIL_SIDE, *frame.shape[1:]), *frame.shape[1:])
    path = folder / "thumbnail.jpg"
    write_image(apply_resize(frame[None], size)[0], path)
    return path


def safe_stem(path: Path) -> str:
    """The beginning of the names of a job's files: letters, digits, dots and dashes of the clip's own name."""
    return re.sub(r"[^\w.-]+", "_", path.stem).strip("._")[:60] or "clip"


def _outputs(choices: Choices, info: MediaInfo, ae: Autoencoder, folder: Path) -> _JobOutputs:
    stem, extension = folder / safe_stem(choices.path), ".png" if info.is_image else ".mp4"
    num_frames = choices.policy.taken_of(info.estimated_frames)
    keeps = keeps_exact_frames(num_frames, *taken_size(ae, info, choices.policy.resolution))
    return _JobOutputs(
        reconstruction=Path(f"{stem}_{ae.name}{extension}"),
        original=Path(f"{stem}_original{extension}"),
        side_by_side=None if keeps else Path(f"{stem}_side_by_side{extension}"),
        worst_frame=Path(f"{stem}_worst_frame.png"),
        pairs=exact_path(folder) if keeps else None,
    )


def _pair(report: FileReport, outputs: _JobOutputs, info: MediaInfo) -> ClipPair:
    times = report.timestamps_s
    return ClipPair(
        original=outputs.original,
        output=outputs.reconstruction,
        is_image=info.is_image,
        num_frames=report.num_frames,
        fps=report.fps,
        height=report.height,
        width=report.width,
        job=outputs.pairs.parent.name if outputs.pairs else None,
        times_s=times and [time - times[0] for time in times],
    )


def _settings(choices: Choices, entry: ModelRef, ae: Autoencoder, report: FileReport, is_image: bool) -> dict[str, str]:
    """What a reader must know to repeat it; the names of clip and weights, but not the server's folders."""
    frames = counted(report.num_frames, "frame")
    size, rate = f"{report.width} x {report.height}", f"{report.fps:.4g} fps"
    weights = {"Weights": ae.weights_path.name} if ae.weights_path and entry.label == entry.name else {}
    plan, _ = tile_plans(ae, report.num_frames, report.height, report.width, choices.tiling)
    return {
        "Clip": ", ".join([report.source.name, size] if is_image else [report.source.name, frames, size, rate]),
        "Model": entry.label,
        **weights,
        "Tiles": _tiles(plan, choices.tiling, report.ran),
        "Device": choices.device,
    }


def _costs(report: FileReport) -> dict[str, str]:
    pixels, latents = report.num_frames * report.height * report.width * 3, math.prod(report.latent_shape)
    return {
        "Latents": f"{' x '.join(map(str, report.latent_shape))} = {latents:,} numbers",
        "Compression": f"{pixels / latents:.3g} to 1: that many colour values for one number",
        "Time": f"{report.encode_total_s:.2f} s to encode, {report.decode_total_s:.2f} s to decode",
    }


def _tiles(plan: TilePlan, tiling: Tiling, ran: Ran) -> str:
    """The tiles as they were, whatever was left to the model."""
    if ran.tiling_mode != "tiles":
        push = "" if ran.push_frames is None else f", {counted(ran.push_frames, 'frame')} at once"
        return f"mode {ran.tiling_mode}{push}, {overlap_words(ran.work)}"
    if len(plan) == 1:
        return "none, in one piece"
    frames, height, width = plan.tile_shape
    return f"{len(plan)} of {frames} frames, {width} x {height}, overlap {tiling.tile_overlap_factor:.0%} or more"
