"""Tables of an evaluation: the leaderboard, a row for every clip and model, a row for every frame."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.compare.report import WorstFrame, leaderboard_html
from workbench.compare.side_by_side import DIFFERENCE_GAIN
from workbench.compare.tables import frame_rows
from workbench.evaluate.clip import ClipResult
from workbench.evaluate.findings import (
    best_models,
    common_clips,
    differences,
    protocol_rows,
    published_rows,
    spread_rows,
    why_nothing_published,
)
from workbench.evaluate.fvd import VideoDistances, video_distances
from workbench.evaluate.run import Evaluation
from workbench.evaluate.settings import BITS_PER_VALUE
from workbench.evaluate.store import ResultStore
from workbench.files import write_csv, write_json, write_text
from workbench.metrics.measure import METRICS, summarise
from workbench.suite.page import PAGE

FRECHET = ("fvd_frechet", "fvd_frechet_low_95", "fvd_frechet_high_95")
"""Columns of a Fréchet distance over a set and of the ends of its interval."""

WORST_FRAMES = 3
"""Clips of each model whose worst frame is shown in the report."""

SECONDS = ("encode_model_s", "encode_total_s", "decode_model_s", "decode_total_s")
"""Inside the model, and in all; see `RoundTrip`."""


def leaderboard(evaluation: Evaluation, distances: VideoDistances | None = None) -> list[dict[str, Any]]:
    """One row a model, best PSNR first, over the clips that every model with any result finished.

    Metrics are means over clips of the means over their frames; seconds and rates are totals over all clips. The
    distances between videos are put in where given.
    """
    clips = common_clips(evaluation)
    rows = [
        _leader_row(label, evaluation.facts[label], [results[clip] for clip in clips], _distance_row(label, distances))
        for label, results in evaluation.results.items()
        if results and clips
    ]
    return sorted(rows, key=lambda row: -row["psnr"])


def clip_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row for every model and clip: rate, cost, and every metric's mean and worst value."""
    for label, clip, result in _each(evaluation):
        summaries = summarise(result.metrics)
        means = {name: summary.mean for name, summary in summaries.items()}
        worst = {f"worst_{name}": summary.worst for name, summary in summaries.items()}
        yield {
            "model": label,
            "clip": str(clip),
            "frames": result.num_frames,
            "height": result.height,
            "width": result.width,
            "fps": result.fps,
            **means,
            **worst,
            "worst_frame": result.worst_frame,
            **_rate(result.values_per_pixel),
            "latents": "x".join(map(str, result.latent_shape)),
            "read_ratio": result.read_ratio,
            "tiling_mode": result.ran.tiling_mode,
            "work": result.ran.work,
            **{name: getattr(result, name) for name in SECONDS},
            "peak_memory_mb": result.peak_memory_mb,
            "ranks": result.ranks,
            "threads": result.threads,
        }


def all_frame_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row for every model, clip and frame."""
    for label, clip, result in _each(evaluation):
        for row in frame_rows(result.metrics):
            yield {"model": label, "clip": str(clip), **row}


def write_results(store: ResultStore, evaluation: Evaluation) -> dict[str, Any]:
    """Write the tables (results, frames, statistics, protocols), results.json and leaderboard.html.

    Returns what results.json holds.

    Raises:
        FileError: a file cannot be written.
    """
    distances = _distances(store, evaluation)
    rows, clips, found = leaderboard(evaluation, distances), list(clip_rows(evaluation)), differences(evaluation)
    common = len(common_clips(evaluation))
    record: dict[str, Any] = {
        "policy": evaluation.policy,
        "models": list(evaluation.facts.values()),
        "common_clips": common,
        "fvd": distances and distances.told,
        "leaderboard": rows,
        "best": best_models(evaluation, found),
        "spreads": list(spread_rows(evaluation)),
        "differences": [asdict(one) for one in found],
        "protocols": list(protocol_rows(store, evaluation)),
        "published": published_rows(evaluation.policy, common),
        "published_note": why_nothing_published(evaluation.policy),
        "clips": clips,
        "failures": [{"model": m, "clip": str(clip), "reason": why} for (m, clip), why in evaluation.failures.items()],
    }
    write_csv(store.folder / "results.csv", clips)
    write_csv(store.folder / "frames.csv", list(all_frame_rows(evaluation)))
    write_csv(store.folder / "statistics.csv", record["spreads"])
    if record["protocols"]:
        write_csv(store.folder / "protocols.csv", record["protocols"])
    write_json(store.folder / "results.json", record)
    worst = list(worst_frames(store, evaluation, [row["model"] for row in rows]))
    faults = PAGE if (store.folder / PAGE).is_file() else None
    page = leaderboard_html(record, worst, DIFFERENCE_GAIN, faults)
    write_text(store.folder / "leaderboard.html", page)
    return record


def worst_frames(store: ResultStore, evaluation: Evaluation, order: Sequence[str]) -> Iterator[WorstFrame]:
    """The worst frame by PSNR of each model's worst clips, the worst first; models in this order, then the others."""
    for label in sorted(evaluation.results, key=lambda label: order.index(label) if label in order else len(order)):
        results = evaluation.results[label]
        psnr = {clip: result.metrics["psnr"][result.worst_frame] for clip, result in results.items()}
        for clip in sorted(psnr, key=psnr.__getitem__)[:WORST_FRAMES]:
            yield WorstFrame(label, clip.name, results[clip].worst_frame, psnr[clip], store.picture(label, clip))


def _distances(store: ResultStore, evaluation: Evaluation) -> VideoDistances | None:
    """rFVD where it was asked for."""
    if evaluation.policy["fvd_network"] is None:
        return None
    labels = [label for label, results in evaluation.results.items() if results]
    return video_distances(store, labels, common_clips(evaluation))


def _distance_row(label: str, distances: VideoDistances | None) -> dict[str, float]:
    """The two distances between videos, each under its own name: they are never mixed."""
    row: dict[str, float] = {}
    if distances and label in distances.frechet:
        row |= dict(zip(FRECHET, distances.frechet[label], strict=True))
    if distances and label in distances.per_clip_sq:
        row["i3d_per_clip_sq"] = distances.per_clip_sq[label]
    return row


def _leader_row(
    label: str, facts: Mapping[str, Any], results: Sequence[ClipResult], distances: Mapping[str, float]
) -> dict[str, Any]:
    def total(part: Callable[[ClipResult], float]) -> float:
        return math.fsum(map(part, results))

    summaries = [summarise(result.metrics) for result in results]
    metrics = {name: _mean([s[name].mean for s in summaries if name in s]) for name in METRICS}
    volume, frames = total(lambda r: r.volume), total(lambda r: r.num_frames)
    return {
        "model": label,
        "random_weights": facts["random_weights"],
        **{name: value for name, value in metrics.items() if value is not None},
        **distances,
        "worst_psnr": min(summary["psnr"].worst for summary in summaries),
        **_rate(total(lambda r: math.prod(r.latent_shape)) / volume),
        "tiling_mode": ", ".join(sorted({result.ran.tiling_mode for result in results})),
        "read_ratio": total(lambda r: r.read_ratio * r.volume) / volume,
        "work": total(lambda r: r.ran.work * r.volume) / volume,
        "encode_fps": frames / total(lambda r: r.encode_total_s),
        "decode_fps": frames / total(lambda r: r.decode_total_s),
        "peak_memory_mb": max(result.peak_memory_mb for result in results),
        "parameters": facts["parameters"],
    }


def _rate(values_per_pixel: float) -> dict[str, float]:
    return {
        "values_per_pixel": values_per_pixel,
        "bits_per_pixel": BITS_PER_VALUE * values_per_pixel,
        "compression": 3 / values_per_pixel,
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _each(evaluation: Evaluation) -> Iterator[tuple[str, Path, ClipResult]]:
    for label, results in evaluation.results.items():
        for clip, result in results.items():
            yield label, clip, result
