"""LPIPS of several reconstructions of one original, whose features are computed once."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from workbench.media.video import to_float
from workbench.metrics.lpips import LPIPS

_KEPT_BYTES = 2**30
_PIXELS_AT_ONCE = {"cpu": 2**17, "cuda": 2**21}  # more gain nothing on a CPU, whose caches they leave


class KeptLpips:
    """Features of the frames of an original that its network measures, kept up to a gigabyte; the rest is computed
    anew for every reconstruction."""

    def __init__(self, original: Tensor, network: LPIPS, keep: bool = True) -> None:
        """`original` is uint8 (T, 3, H, W); without `keep` nothing is kept, as for one reconstruction alone."""
        self._original, self._network = original, network
        self._device = network.shift.device
        self._room = _KEPT_BYTES if keep else 0
        self._kept: dict[int, list[Tensor]] = {}

    @property
    def frames(self) -> int:
        """How many frames are measured."""
        is_too_small = min(self._original.shape[2:]) < self._network.min_side
        return 0 if is_too_small else -(-len(self._original) // self._network.every)

    @torch.no_grad()
    def against(self, output: Tensor) -> Iterator[tuple[int, list[float]]]:
        """Values of the frames of a reconstruction, uint8 (T, 3, H, W): a frame's number and the values from there on,
        NaN where a frame is left out; a few frames at a time."""
        every, size = self._network.every, (self._original.shape[2], self._original.shape[3])
        if not self.frames:
            return
        pixels = _PIXELS_AT_ONCE.get(self._device.type, _PIXELS_AT_ONCE["cpu"])
        at_once = max(1, pixels // (size[0] * size[1]))
        numbers = list(range(0, len(output), every))
        for start in range(0, len(numbers), at_once):
            taken = numbers[start : start + at_once]
            features = self._network.features(self._input(output, taken))
            values = self._network.distance(self._of_original(taken), features, size).mean((1, 2, 3)).tolist()
            yield taken[0], [part for value in values for part in (value, *[math.nan] * (every - 1))]

    def values(self, output: Tensor) -> list[float]:
        """One value for every frame."""
        found = [math.nan] * len(output)
        for first, values in self.against(output):
            found[first : first + len(values)] = values
        return found[: len(output)]

    def _of_original(self, taken: list[int]) -> list[Tensor]:
        if taken[0] in self._kept:
            return self._kept[taken[0]]
        features = self._network.features(self._input(self._original, taken))
        size = sum(layer.numel() * layer.itemsize for layer in features)
        if size <= self._room:
            self._room -= size
            self._kept[taken[0]] = features
        return features

    def _input(self, frames: Tensor, taken: list[int]) -> Tensor:
        return to_float(frames[taken].to(self._device)).contiguous(memory_format=torch.channels_last)
