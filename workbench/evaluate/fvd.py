"""rFVD: the Fréchet video distance of every model's reconstructions to the originals, over the same clips for all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.evaluate.store import ResultStore
from workbench.metrics.fvd import FVD_FRAMES, fewest_windows, frechet_distance


@dataclass(frozen=True)
class VideoDistances:
    """rFVD by the model's label, and from how many windows; no values where the network's features need more."""

    values: dict[str, float]
    windows: int
    needed: int

    @property
    def told(self) -> str:
        """What a reader should know of it, in one line."""
        if not self.windows:
            return f"left out: no clip has {FVD_FRAMES} frames"
        if not self.values:
            return f"left out: there are {self.windows} windows of {FVD_FRAMES} frames, its network needs {self.needed}"
        return f"over {self.windows} windows of {FVD_FRAMES} frames"


def video_distances(store: ResultStore, models: Iterable[str], clips: Sequence[Path]) -> VideoDistances:
    """The rFVD of each model over the windows of these clips, all of which each of them finished."""
    values: dict[str, float] = {}
    windows = needed = 0
    for label in models:
        original, output = _features(store, label, clips)
        windows, needed = len(original), fewest_windows(original)
        if windows >= needed:
            values[label] = frechet_distance(original, output)
    return VideoDistances(values, windows, needed)


def _features(store: ResultStore, label: str, clips: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Features of all windows of the originals and of the outputs; clips too short for a window have none."""
    pairs = [pair for pair in (store.features(label, clip) for clip in clips) if len(pair[0])]
    if not pairs:
        return torch.zeros(0, 0), torch.zeros(0, 0)
    original, output = map(torch.cat, zip(*pairs, strict=True))
    return original, output
