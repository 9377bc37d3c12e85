"""What a reconstruction gets after its first figures, from its exact frames: nobody waits for it."""

import math
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from workbench.compare.side_by_side import side_by_side
from workbench.devices import pick_device
from workbench.jobs.exact import read_pair
from workbench.jobs.reconstruct import DOWNLOADS, JobResult, write_report
from workbench.jobs.record import add_metric
from workbench.media.image import write_image
from workbench.media.writer import VideoWriter
from workbench.metrics.lpips import LPIPS, load_lpips_if_available, usual_every
from workbench.metrics.lpips import lpips as lpips_of
from workbench.metrics.measure import METRICS
from workbench.roundtrip.progress import MEASURE
from workbench.steps import Progress, Steps


def finish_job(result: JobResult, device: str) -> Steps[JobResult]:
    """The same result with LPIPS, if its network is here, and a video of both sides, from its exact frames; tables and
    report are written anew.

    Raises:
        FileError: the exact frames are gone, or the disk is full.
    """
    if result.pair.job is None:
        return result
    lpips = load_lpips_if_available(device, usual_every(pick_device(device)))
    if lpips:
        result = yield from _with_lpips(result, lpips)
    beside = yield from _write_beside(result)
    files = result.downloads | {"side_by_side": beside}
    return replace(result, downloads={name: files[name] for name in DOWNLOADS})


def _with_lpips(result: JobResult, lpips: LPIPS) -> Steps[JobResult]:
    values: list[float] = []
    for frame in range(result.report.num_frames):
        original, output = _both(result, frame)
        values += lpips_of(original, output, 255.0, lpips, frame).tolist()
        if not math.isnan(values[-1]):
            yield Progress(MEASURE, frame, result.report.num_frames)
    metrics = {name: (result.report.metrics | {"lpips": values}).get(name) for name in METRICS}
    report = replace(result.report, metrics={name: found for name, found in metrics.items() if found})
    result = replace(result, report=report, lpips_every=lpips.every)
    add_metric(result.downloads["metrics_csv"], result.downloads["metrics_json"], report, lpips.every)
    write_report(result)
    return result


def _write_beside(result: JobResult) -> Steps[Path]:
    report, pair = result.report, result.pair
    stem = pair.original.stem.removesuffix("original")
    path = pair.original.with_stem(f"{stem}side_by_side")
    if pair.is_image:
        write_image(_beside(result, 0)[0], path)
        return path
    with VideoWriter(path, report.fps) as writer:
        for frame in range(report.num_frames):
            writer.write(_beside(result, frame), report.timestamps_s and [report.timestamps_s[frame]])
            yield Progress(MEASURE, frame + 1, report.num_frames)
    return path


def _beside(result: JobResult, frame: int) -> Tensor:
    original, output = _both(result, frame)
    return side_by_side({"original": original, "reconstruction": output})


def _both(result: JobResult, frame: int) -> tuple[Tensor, Tensor]:
    """A frame of the original and of the reconstruction, uint8 (1, 3, H, W)."""
    original, output = read_pair(result.worst_frame.parent, frame)
    return original[None], output[None]
