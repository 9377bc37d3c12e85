"""Several results as one: a table, a report, and a video in which they play beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench.compare.clip_report import clip_html
from workbench.compare.grid import grid
from workbench.compare.side_by_side import DIFFERENCE_GAIN
from workbench.compare.tables import frame_rows
from workbench.files import write_csv, write_json, write_text
from workbench.jobs.exact import read_frame
from workbench.jobs.reconstruct import JobResult, reported, spreads
from workbench.media.image import write_image
from workbench.media.writer import VideoWriter


def write_tables(results: Sequence[JobResult], folder: Path) -> dict[str, Path]:
    """results.csv, a row a result; frames.csv, a row a frame of each; results.json; and report.html.

    Raises:
        FileError: the disk is full.
    """
    names = {"results_csv": "results.csv", "frames_csv": "frames.csv", "results_json": "results.json"}
    files = {key: folder / name for key, name in (names | {"report": "report.html"}).items()}
    rows = [result_row(result) for result in results]
    write_csv(files["results_csv"], rows)
    write_csv(files["frames_csv"], list(_frame_rows(results)))
    write_json(files["results_json"], {"results": rows, "settings": [result.settings for result in results]})
    write_text(files["report"], clip_html([reported(result) for result in results], DIFFERENCE_GAIN))
    return files


def write_grid(results: Sequence[JobResult], folder: Path) -> Path | None:
    """The original and all results in step, from their exact frames; None where some have none, or of other clips.

    Raises:
        FileError: the disk is full, or exact frames are gone.
    """
    first = results[0].report
    size = first.source, first.num_frames, first.height, first.width
    same = [(one.report.source, one.report.num_frames, one.report.height, one.report.width) for one in results]
    if any(result.pair.job is None for result in results) or same != [size] * len(results):
        return None
    folders = {f"{index + 1} {result.label}": result.worst_frame.parent for index, result in enumerate(results)}
    path = folder / f"comparison{'.png' if results[0].pair.is_image else '.mp4'}"
    if results[0].pair.is_image:
        write_image(grid(_panels(folders, 0))[0], path)
        return path
    with VideoWriter(path, first.fps) as writer:
        for frame in range(first.num_frames):
            writer.write(grid(_panels(folders, frame)), first.timestamps_s and [first.timestamps_s[frame]])
    return path


def result_row(result: JobResult) -> dict[str, Any]:
    """One result as a row: rate, cost, and of every metric mean, median, one in twenty and worst."""
    report = result.report
    values = {
        f"{name}{suffix}": getattr(one, key)
        for name, one in spreads(report.metrics).items()
        for key, suffix in (("mean", ""), ("median", "_median"), ("low", "_one_in_twenty"), ("worst", "_worst"))
    }
    return {
        "model": result.label,
        "clip": report.source.name,
        "frames": report.num_frames,
        "height": report.height,
        "width": report.width,
        "fps": report.fps,
        **values,
        "worst_frame": report.worst_frame,
        "compression": 3 / report.values_per_pixel,
        "latents": "x".join(map(str, report.latent_shape)),
        "tiling_mode": report.ran.tiling_mode,
        "work": report.ran.work,
        "encode_total_s": report.encode_total_s,
        "decode_total_s": report.decode_total_s,
        "lpips_every": result.lpips_every,
    }


def _frame_rows(results: Sequence[JobResult]) -> Iterator[dict[str, Any]]:
    for number, result in enumerate(results, start=1):
        for row in frame_rows(result.report.metrics, result.report.timestamps_s):
            yield {"result": number, "model": result.label, "clip": result.report.source.name, **row}


def _panels(folders: Mapping[str, Path], frame: int) -> dict[str, torch.Tensor]:
    original = read_frame(next(iter(folders.values())), frame, is_original=True)[None]
    return {"original": original} | {label: read_frame(at, frame, False)[None] for label, at in folders.items()}
