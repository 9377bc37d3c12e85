"""One reconstruction of the app: from what was chosen to files, figures and a table. Knows nothing of pages."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.compare.clip_report import clip_html
from workbench.compare.side_by_side import DIFFERENCE_GAIN
from workbench.config import to_dict
from workbench.files import write_text
from workbench.jobs.choices import Choices
from workbench.jobs.estimate import taken_size
from workbench.jobs.exact import exact_path, keeps_exact_frames
from workbench.jobs.record import write_metrics
from workbench.media.info import MediaInfo
from workbench.media.reader import probe
from workbench.metrics.lpips import LPIPS, load_lpips_if_available, usual_every
from workbench.metrics.measure import Summary, summarise
from workbench.models.auto import Ran
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.roundtrip.clip import reconstruct_file_steps
from workbench.roundtrip.outputs import Outputs
from workbench.roundtrip.progress import WRITE
from workbench.roundtrip.result import FileReport
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling
from workbench.tiling import TilePlan

DOWNLOADS = ("reconstruction", "side_by_side", "metrics_csv", "metrics_json", "report")
"""The files that a visitor can take along, by name."""

STAGES = 3
"""Encoding, decoding and measuring; the tables and the report at the end take little."""


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
    """What is shown of a finished job. `downloads` has a file for every name in DOWNLOADS.

    Attributes:
        settings: what it was made from and with, in words by name.
        times_s: presentation time of each frame; None for a photo.
    """

    report: FileReport
    settings: dict[str, str]
    times_s: list[float] | None
    summary: dict[str, Summary]
    pair: ClipPair
    downloads: dict[str, Path]


def reconstruct_job(choices: Choices, ae: Autoencoder, folder: Path) -> Steps[JobResult]:
    """Reconstruct into `folder`, yielding a Progress after every tile and few frames; closing removes partial files.

    Raises:
        FileError: the clip is missing or cannot be read, or the disk is full.
        ConfigError: a choice is not possible for this model or clip.
    """
    info = probe(choices.path)
    outputs = _outputs(choices, info, ae, folder)
    lpips = load_lpips_if_available(ae.device, usual_every(ae.device))
    report = yield from reconstruct_file_steps(ae, choices.path, outputs, choices.tiling, choices.policy, lpips)
    yield Progress(WRITE, 0, 1)
    summary = summarise(report.metrics)
    settings = _settings(choices, ae, report, info.is_image)
    if lpips and lpips.every > 1 and report.num_frames > 1:
        settings["LPIPS"] = f"of one frame in {lpips.every}"
    times = None if info.is_image else [report.time_of(frame) for frame in range(report.num_frames)]
    facts = settings | _costs(report)
    page = clip_html(facts, report.warnings, report.metrics, times, outputs.worst_frame, DIFFERENCE_GAIN)
    downloads = _write_downloads(outputs, report, choices, ae, lpips, page)
    return JobResult(report, settings, times, summary, _pair(report, outputs, info), downloads)


def safe_stem(path: Path) -> str:
    """The beginning of the names of a job's files: letters, digits, dots and dashes of the clip's own name."""
    return re.sub(r"[^\w.-]+", "_", path.stem).strip("._")[:60] or "clip"


def _outputs(choices: Choices, info: MediaInfo, ae: Autoencoder, folder: Path) -> Outputs:
    stem, extension = folder / safe_stem(choices.path), ".png" if info.is_image else ".mp4"
    num_frames = choices.policy.taken_of(info.estimated_frames)
    keeps = keeps_exact_frames(num_frames, *taken_size(ae, info, choices.policy.resolution))
    return Outputs(
        reconstruction=Path(f"{stem}_{ae.name}{extension}"),
        original=Path(f"{stem}_original{extension}"),
        side_by_side=Path(f"{stem}_side_by_side{extension}"),
        worst_frame=Path(f"{stem}_worst_frame.png"),
        pairs=exact_path(folder) if keeps else None,
    )


def _pair(report: FileReport, outputs: Outputs, info: MediaInfo) -> ClipPair:
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


def _write_downloads(
    outputs: Outputs, report: FileReport, choices: Choices, ae: Autoencoder, lpips: LPIPS | None, page: str
) -> dict[str, Path]:
    """Write the tables and the report beside the clips; the files of DOWNLOADS."""
    stem = outputs.original.stem.removesuffix("original")
    settings = {"tiling": to_dict(choices.tiling), "frames": to_dict(choices.policy), "device": choices.device}
    folder = outputs.original.parent
    tables = write_metrics(folder, stem, report, ae, choices.tiling, settings, lpips, hide_folders=True)
    html_path = folder / f"{stem}report.html"
    write_text(html_path, page)
    return dict(zip(DOWNLOADS, (outputs.reconstruction, outputs.side_by_side, *tables, html_path), strict=True))


def _settings(choices: Choices, ae: Autoencoder, report: FileReport, is_image: bool) -> dict[str, str]:
    """What a reader must know to repeat it; the names of clip and weights, but not the server's folders."""
    frames = f"{report.num_frames} {'frame' if report.num_frames == 1 else 'frames'}"
    size, rate = f"{report.width} x {report.height}", f"{report.fps:.4g} fps"
    weights = choices.named_weights or (ae.weights_path and ae.weights_path.name)
    named = {"Weights": Path(weights).name if Path(weights).is_absolute() else weights} if weights else {}
    plan, _ = tile_plans(ae, report.num_frames, report.height, report.width, choices.tiling)
    return {
        "Clip": ", ".join([report.source.name, size] if is_image else [report.source.name, frames, size, rate]),
        "Model": report.model,
        **named,
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
        return f"mode {ran.tiling_mode}, {ran.push_frames} frames at once, {ran.work:.2f} times the work of one piece"
    if len(plan) == 1:
        return "none, in one piece"
    frames, height, width = plan.tile_shape
    return f"{len(plan)} of {frames} frames, {width} x {height}, overlap {tiling.tile_overlap_factor:.0%} or more"
