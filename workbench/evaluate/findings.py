"""What an evaluation says beyond means: spreads, differences that hold, and figures under published protocols."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from workbench.evaluate.fvd import video_distances
from workbench.evaluate.protocols import PROTOCOLS
from workbench.evaluate.published import comparable
from workbench.evaluate.run import Evaluation
from workbench.evaluate.store import ResultStore
from workbench.metrics.measure import METRICS, summarise
from workbench.metrics.statistics import Difference, difference, interval_of_mean, spread


def common_clips(evaluation: Evaluation) -> list[Path]:
    """The clips that every model with any result finished."""
    sets = [results for results in evaluation.results.values() if results]
    return [clip for clip in sets[0] if all(clip in results for results in sets)] if sets else []


def clip_means(evaluation: Evaluation, label: str, metric: str) -> dict[Path, float]:
    """A metric's mean over the frames of each common clip, where it is defined."""
    results = evaluation.results[label]
    summaries = {clip: summarise(results[clip].metrics) for clip in common_clips(evaluation)}
    return {clip: found[metric].mean for clip, found in summaries.items() if metric in found}


def spread_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row for every model and metric, over the means of the clips, and one over all of their frames."""
    clips = common_clips(evaluation)
    for label in _labels(evaluation):
        for name, metric in METRICS.items():
            frames = [value for clip in clips for value in evaluation.results[label][clip].metrics.get(name, [])]
            by_clip = list(clip_means(evaluation, label, name).values())
            for over, values in (("clips", by_clip), ("frames", frames)):
                found = spread(values, metric.higher_is_better, with_interval=over == "clips")
                if found is not None:
                    low, high = found.interval or (None, None)
                    yield {
                        "model": label,
                        "metric": name,
                        "over": over,
                        "mean": found.mean,
                        "low_95": low,
                        "high_95": high,
                        "median": found.median,
                        "one_in_twenty": found.low,
                        "worst": found.worst,
                    }


def differences(evaluation: Evaluation) -> list[Difference]:
    """Of every ordered pair of models, in every metric, over the common clips."""
    found = []
    for name, metric in METRICS.items():
        values = {label: clip_means(evaluation, label, name) for label in _labels(evaluation)}
        for pair in permutations(values, 2):
            one = difference(name, metric.higher_is_better, *((label, values[label]) for label in pair))
            found += [one] if one is not None else []
    return found


def best_models(evaluation: Evaluation, found: Sequence[Difference]) -> dict[str, str]:
    """By metric the model that is better than each of the others, where one is."""
    labels = _labels(evaluation)
    better = {(one.metric, one.model, one.other) for one in found if one.better}
    return {
        name: label
        for name in METRICS
        for label in labels
        if len(labels) > 1 and all((name, label, other) in better for other in labels if other != label)
    }


def protocol_rows(store: ResultStore, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row for every protocol and model: means over the common clips with their intervals, and distances of sets."""
    clips, labels = common_clips(evaluation), _labels(evaluation)
    for protocol in evaluation.policy["protocols"]:
        distances = video_distances(store, labels, clips, protocol)
        for label in labels:
            row: dict[str, Any] = {"protocol": protocol, "model": label}
            for name in ("psnr", "ssim", "lpips", "i3d_per_clip_sq"):
                values = [evaluation.results[label][clip].protocols.get(protocol, {}).get(name) for clip in clips]
                row |= _mean_with_interval(name, [value for value in values if value is not None])
            if label in distances.frechet:
                names = ("fvd_frechet", "fvd_frechet_low_95", "fvd_frechet_high_95")
                row |= dict(zip(names, distances.frechet[label], strict=True))
            yield row


def published_rows(policy: dict[str, Any], clips: int) -> list[dict[str, Any]]:
    """The published figures that an evaluation of so many clips can be compared with."""
    protocols = list(policy["protocols"])
    rows = comparable(protocols[0], policy["set_name"], clips) if len(protocols) == 1 else []
    return [{"protocol": row.protocol, "model": row.model, **row.figures, "source": row.source} for row in rows]


def why_nothing_published(policy: dict[str, Any]) -> str | None:
    """What is missing for published figures to be shown, in one line; None where the protocol has none."""
    protocols = list(policy["protocols"])
    sets = PROTOCOLS[protocols[0]].sets if len(protocols) == 1 else ()
    if not sets:
        return None
    wanted = " or ".join(f"{name}{f' ({count} clips)' if count else ''}" for name, count in sets)
    return f"published figures under {protocols[0]} are on {wanted}: they are shown where `set_name` says so"


def _labels(evaluation: Evaluation) -> list[str]:
    return [label for label, results in evaluation.results.items() if results]


def _mean_with_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    interval = interval_of_mean(values)
    ends = {} if interval is None else {f"{name}_low_95": interval[0], f"{name}_high_95": interval[1]}
    return {name: math.fsum(values) / len(values), **ends}
