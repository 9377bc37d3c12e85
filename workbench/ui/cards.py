"""Results as the page's scripts take them: what a card says, and all that the player and the table show of it."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.jobs.queue import RUNNING, Job
from workbench.ui import work
from workbench.ui.words import doing, waiting
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.jobs.reconstruct import JobResult

_DOWNLOADS = {
    "reconstruction": "Reconstruction",
    "side_by_side": "Side by side",
    "metrics_csv": "Metrics (CSV)",
    "metrics_json": "Metrics (JSON)",
    "report": "Report (HTML)",
}


def card_state(job: Job, ahead: int) -> dict[str, Any]:
    """What a card says while its job waits, runs or has failed; of a result only that there is one, see `version`."""
    share = job.progress[1] if job.progress else 0.0
    text = job.error
    if job.is_active:
        running = doing(job) if job.progress else "Loading model and clip"
        text = running if job.state == RUNNING else waiting(ahead)
    elif job.progress:
        text = "LPIPS to come" if work.lpips_available() else "Files to come"
    return {"id": job.id, "state": job.state, "version": job.version, "share": share, "text": text, **job.about}


def card_result(result: "JobResult") -> dict[str, Any]:
    """All of a result: files by their paths on the server, metrics with their spread, costs, settings and notes."""
    report, pair = result.report, result.pair
    size = f"{report.width}×{report.height}"
    frames = "" if pair.is_image else f" · {counted(report.num_frames, 'frame')}"
    return {
        "label": result.label,
        "clip": report.source.name,
        "subject": _subject(result),
        "detail": size + frames,
        "original": str(pair.original),
        "output": str(pair.output),
        "thumbnail": str(result.thumbnail),
        "is_image": pair.is_image,
        "is_exact": pair.job is not None,
        "num_frames": pair.num_frames,
        "fps": pair.fps,
        "width": pair.width,
        "height": pair.height,
        "times_s": pair.times_s,
        "metrics": metric_records(report.metrics),
        "costs": {
            "compression": 3 / report.values_per_pixel,
            "encode_total_s": report.encode_total_s,
            "decode_total_s": report.decode_total_s,
            "work": report.ran.work,
        },
        "facts": result.settings,
        "notes": _notes(result),
        "downloads": [{"label": _DOWNLOADS[name], "path": str(path)} for name, path in result.downloads.items()],
    }


def _subject(result: "JobResult") -> str:
    """The same for results of the same frames, which can be shown in step; says nothing of the server's folders."""
    report = result.report
    facts = report.source, report.num_frames, report.height, report.width, report.fps
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def metric_records(metrics: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Every metric that has a value: its name and unit, one value a frame (None where it has none), and its spread."""
    records, found = [], work.spreads(metrics)
    for name, summary in work.summarise(metrics).items():
        metric, values = work.METRICS[name], metrics[name]
        records.append(
            {
                "name": name,
                "label": metric.label,
                "unit": metric.unit,
                "higher": metric.higher_is_better,
                "values": [float(f"{value:.5g}") if math.isfinite(value) else None for value in values],
                **{key: getattr(found[name], key) for key in ("mean", "median", "low", "worst")},
                "worst_frame": summary.worst_frame,
            }
        )
    return records


def _notes(result: "JobResult") -> list[str]:
    notes = [f"{warning}." for warning in result.report.warnings]
    if result.lpips_every and result.lpips_every > 1 and result.report.num_frames > 1:
        notes.append(f"LPIPS is that of one frame in {result.lpips_every}.")
    if not work.lpips_available():
        notes.append("LPIPS is left out: python -m workbench fetch lpips brings its network to this computer.")
    if result.pair.job is None:
        notes.append("This clip is too long to keep its exact frames: no pixel values, difference or x-t slice.")
    return notes
