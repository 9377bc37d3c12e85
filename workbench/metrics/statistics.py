"""What a set of clips says of a model, and whether it says it of another set too: spreads, intervals, differences."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
_FEWEST = 3  # clips; fewer say nothing of a set
_AT_ONCE = 2_000_000  # resampled values, which bounds memory


@dataclass(frozen=True)
class Spread:
    """Values of one metric over clips or frames.

    Attributes:
        low: the 5th percentile where higher is better, else the 95th: one in twenty is worse.
        interval: of the mean, at 95 %; None with fewer than three values, and for frames, which depend on each other.
    """

    mean: float
    median: float
    low: float
    worst: float
    interval: tuple[float, float] | None = None


def spread(values: Sequence[float], higher_is_better: bool, with_interval: bool = False) -> Spread | None:
    """Of the values that are defined; None where none is."""
    found = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    if not len(found):
        return None
    low = np.percentile(found, 5 if higher_is_better else 95)
    worst = found.min() if higher_is_better else found.max()
    interval = interval_of_mean(found) if with_interval else None
    return Spread(found.mean().item(), np.median(found).item(), low.item(), worst.item(), interval)


def interval_of_mean(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of the mean over clips: percentiles of the means of 10,000 resampled sets.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979. Clips are drawn, not frames: frames of a clip
    resemble each other, and would make the interval far too narrow. With a handful of clips it is still somewhat
    narrow. The draws are the same in every run.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < _FEWEST or not np.isfinite(found).all():
        return None
    generator, means, left = np.random.default_rng(0), [], RESAMPLES
    while left:
        count = min(left, max(1, _AT_ONCE // len(found)))
        means.append(found[generator.integers(0, len(found), (count, len(found)))].mean(1))
        left -= count
    ends = np.percentile(np.concatenate(means), [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return ends[0].item(), ends[1].item()


@dataclass(frozen=True)
class Difference:
    """One model's values less another's, clip by clip, of one metric.

    Attributes:
        interval: of the mean difference; None with too few clips.
        better: whether the first is better on any set like this one: the whole interval is on its side.
    """

    metric: str
    model: str
    other: str
    mean: float
    interval: tuple[float, float] | None
    better: bool


def difference(
    metric: str, higher_is_better: bool, model: tuple[str, Mapping], other: tuple[str, Mapping]
) -> Difference | None:
    """The paired difference of two models, each a label and its values by clip, over the clips of both."""
    (label, a), (other_label, b) = model, other
    pairs = [a[clip] - b[clip] for clip in a if clip in b]
    pairs = [value for value in pairs if math.isfinite(value)]
    if not pairs:
        return None
    interval = interval_of_mean(pairs)
    better = interval is not None and (interval[0] > 0 if higher_is_better else interval[1] < 0)
    return Difference(metric, label, other_label, math.fsum(pairs) / len(pairs), interval, better)


def resampled_deviation(parts: int, statistic: Callable[[np.ndarray], float], resamples: int = 200) -> float | None:
    """The standard deviation of a statistic over resampled sets; it gets the numbers of the clips drawn."""
    if parts < _FEWEST:
        return None
    generator = np.random.default_rng(0)
    values = [statistic(generator.integers(0, parts, parts)) for _ in range(resamples)]
    return float(np.std(values, ddof=1))
