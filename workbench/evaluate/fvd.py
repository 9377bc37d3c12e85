"""rFVD: the Fréchet video distance of every model's reconstructions to the originals, over the same clips for all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.evaluate.store import ResultStore
from workbench.metrics.fvd import FVD_FRAMES, fewest_windows, frechet_distance, frechet_of_any
from workbench.metrics.statistics import resampled_deviation

_NORMAL_95 = 1.959964  # deviations of a normal distribution that hold 95 % of it to either side of the mean
_RESAMPLES = 100


@dataclass(frozen=True)
class VideoDistances:
    """Distances by the model's label, and from how many windows.

    Attributes:
        frechet: the Fréchet distance over the set and the ends of its interval; empty where there are too few windows.
        per_clip_sq: the squared distance of the features of original and output, averaged over the windows. It is no
            Fréchet distance, and needs only one window.
        needed: windows that the Fréchet distance takes.
    """

    frechet: dict[str, tuple[float, float, float]]
    per_clip_sq: dict[str, float]
    windows: int
    needed: int

    @property
    def told(self) -> str:
        """What a reader should know of the Fréchet distance, in one line."""
        if not self.windows:
            return f"left out: no clip has {FVD_FRAMES} frames"
        if not self.frechet:
            return f"left out: there are {self.windows} windows of {FVD_FRAMES} frames, its network needs {self.needed}"
        return f"over {self.windows} windows of {FVD_FRAMES} frames"


def video_distances(
    store: ResultStore, models: Iterable[str], clips: Sequence[Path], protocol: str = ""
) -> VideoDistances:
    """The distances of each model over the windows of these clips, all of which each of them finished."""
    frechet: dict[str, tuple[float, float, float]] = {}
    per_clip: dict[str, float] = {}
    windows = needed = 0
    for label in models:
        pairs = [pair for pair in (store.features(label, clip, protocol) for clip in clips) if len(pair[0])]
        windows = sum(len(original) for original, _ in pairs)
        if windows:
            original, output = map(torch.cat, zip(*pairs, strict=True))
            needed = fewest_windows(original)
            per_clip[label] = (original - output).double().square().sum(1).mean().item()
            if windows >= needed:
                frechet[label] = _with_interval(pairs, frechet_distance(original, output))
    return VideoDistances(frechet, per_clip, windows, needed)


def _with_interval(pairs: Sequence[tuple[Tensor, Tensor]], value: float) -> tuple[float, float, float]:
    """The distance and the ends of its 95 % interval, the deviation over resampled clips to either side.

    Percentiles of the resampled distances themselves would lie too high: a set drawn with repetition holds fewer
    different windows, and the distance grows as they get fewer.
    """

    def of(drawn: np.ndarray) -> float:
        original, output = (torch.cat([pairs[number][side] for number in drawn]) for side in (0, 1))
        return frechet_of_any(original, output)

    deviation = resampled_deviation(len(pairs), of, _RESAMPLES)
    margin = 0.0 if deviation is None else _NORMAL_95 * deviation
    return value, value - margin, value + margin
