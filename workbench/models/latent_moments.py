"""Mean and standard deviation of latents per channel: gathered clip by clip, merged over ranks, kept beside weights.

Whoever trains a generator on latents wants them centred and of unit variance. The variances are merged by the formula
of Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979): sums of
squares would lose all digits where a mean is large against its deviation.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import ShapeError, WeightsError, first_line
from workbench.files import write_json
from workbench.models.weights import CHECKPOINT_FILES
from workbench.ranks import gather_on_all

STATISTICS_FILE = "latent_stats.json"
_EMA_FILE, _STATE_FILE = CHECKPOINT_FILES[0], "state.json"
_DEAD = 1e-3


class LatentMoments:
    """Running moments of latents, one per channel, in float64 on the CPU.

    Attributes:
        count: latent values of each channel so far.
        mean: their mean (C,); 0 before the first.
        squares: the sum of their squared deviations from the mean (C,).
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)

    @property
    def std(self) -> Tensor:
        """Standard deviation (C,) of all values, taken as the whole population; NaN before the first."""
        return (self.squares / self.count).sqrt() if self.count else torch.full_like(self.squares, math.nan)

    def update(self, latents: Tensor) -> None:
        """Take in latents (B, C, t, h, w) of any type and device.

        Raises:
            ShapeError: they do not have these channels, or hold no value.
        """
        if latents.ndim != 5 or latents.shape[1] != len(self.mean) or not latents.numel():
            raise ShapeError(f"latents must be (B, {len(self.mean)}, t, h, w), got {tuple(latents.shape)}")
        values = latents.detach().double().transpose(0, 1).flatten(1)
        mean = values.mean(1)
        self._merge(values.shape[1], mean.cpu(), (values - mean[:, None]).square_().sum(1).cpu())

    def merge(self, other: "LatentMoments") -> None:
        """Take in all that another one has seen."""
        self._merge(other.count, other.mean, other.squares)

    def over_ranks(self) -> "LatentMoments":
        """The moments of all ranks together, merged in their order, so that every rank gets the same numbers.

        Every rank must call it. Without a process group they are this process's own.
        """
        merged = LatentMoments(len(self.mean))
        for part in gather_on_all(self):
            merged.merge(part)
        return merged

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        if not count:
            return
        total, delta = self.count + count, mean - self.mean
        self.squares = self.squares + squares + delta.square() * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total


def dead_channels(std: Tensor) -> int:
    """How many channels say nothing: their deviation, of (C,), is under a thousandth of the median one."""
    return int((std <= _DEAD * std.median()).sum())


@dataclass(frozen=True)
class LatentStatistics:
    """What is known of a model's latents.

    Attributes:
        mean, std: per channel.
        count: latent values of each channel that they were taken from, None where that was not written down.
        model, architecture, weights_sha256: of the model, see `identity_of`; empty where that was not written down.
        policy: which clips, frames and sizes, as plain values.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    count: int | None = None
    model: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    policy: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise WeightsError(f"latent statistics of {len(self.mean)} means and {len(self.std)} deviations")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) < 0:
            raise WeightsError("latent statistics that are not finite")

    @classmethod
    def of(cls, moments: LatentMoments, **facts: Any) -> "LatentStatistics":
        """The statistics that moments amount to; `facts` are further attributes."""
        return cls(tuple(moments.mean.tolist()), tuple(moments.std.tolist()), moments.count, **facts)

    def save(self, path: Path) -> None:
        """Write them as JSON, whole or not at all.

        Raises:
            FileError: the file cannot be written.
        """
        write_json(path, asdict(self))


def statistics_path(weights: Path) -> Path:
    """Where the statistics of a model belong: `latent_stats.json` in its folder (a checkpoint, or one of diffusers),
    `NAME.stats.json` beside a weights file NAME.safetensors that stands alone."""
    if weights.is_dir():
        return weights / STATISTICS_FILE
    if weights.name in CHECKPOINT_FILES:
        return weights.parent / STATISTICS_FILE
    return weights.with_suffix(".stats.json")


def read_statistics(path: Path) -> LatentStatistics:
    """Read what `LatentStatistics.save` wrote.

    Raises:
        WeightsError: there is no such file, or it holds no statistics.
    """
    try:
        return _from_record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, WeightsError) as error:
        raise WeightsError(f"{path}: cannot be read as latent statistics ({first_line(error)})") from None


def find_statistics(weights: Path) -> LatentStatistics | None:
    """The statistics beside weights: those of `statistics_path`, or what validation left in a training checkpoint.

    Validation runs on the averaged weights, so what it left does not count for `model.safetensors` alone.

    Raises:
        WeightsError: there is a file, but it holds no statistics.
    """
    path = statistics_path(weights)
    if path.is_file():
        return read_statistics(path)
    folder = weights if weights.is_dir() else weights.parent
    if (weights.is_dir() or weights.name == _EMA_FILE) and (folder / _STATE_FILE).is_file():
        return _from_training(folder / _STATE_FILE)
    return None


def _from_training(path: Path) -> LatentStatistics | None:
    """The statistics in a checkpoint's plain values, if it was written after a validation pass."""
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")).get("latents") or {})
        return _from_record({"policy": {"validated_at_step": found.pop("step")}, **found}) if found else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, WeightsError) as error:
        raise WeightsError(f"{path}: what it says of the latents is damaged ({first_line(error)})") from None


def _from_record(record: dict[str, Any]) -> LatentStatistics:
    lists = {name: tuple(map(float, record[name])) for name in ("mean", "std")}
    return LatentStatistics(**{**record, **lists})
