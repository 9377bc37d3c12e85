"""Buckets: which clips can be batched together, and the order of an epoch.

Everything here is a pure function of (clips, bucket_config, seed, epoch): there is no generator whose state would have
to be stored. Every rank computes the same epoch and takes its own part of each step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workbench.config import check_range
from workbench.data.index import Clip, DataError
from workbench.data.resolution import Resolution, nearest_shape, parse_resolution
from workbench.errors import ConfigError
from workbench.media import frame_interval

BucketConfig = dict[str, dict[int, tuple[float, int]]]
"""resolution -> number of frames -> (probability, batch size of one rank)"""

PIXELS_NEEDED = 0.8
"""A clip must have this part of a resolution's pixels: less would be enlarged too much."""


@dataclass(frozen=True)
class Bucket:
    """Clips of one bucket give batches of one shape, (batch_size, 3, num_frames, height, width)."""

    resolution: str
    num_frames: int
    height: int
    width: int
    probability: float
    batch_size: int


@dataclass(frozen=True)
class Step:
    """One batch on every rank: positions first ... first + batch_size * world_size of the bucket's order."""

    bucket: Bucket
    first: int


class Buckets:
    """The buckets of a configuration, and which of them each clip may go to.

    Attributes:
        all: every bucket, in a fixed order: resolutions by falling pixels, frames by falling count, then shapes.
        choices: for each clip the numbers in `all` of the buckets that it fits, the preferred one first.
    """

    def __init__(
        self, clips: Sequence[Clip], bucket_config: Mapping, spatial_multiple: int, fps_max: float
    ) -> None:
        """Raises ConfigError if the configuration is not one, DataError if no clip fits any of it."""
        check_bucket_config(bucket_config)
        names = sorted(map(parse_resolution, bucket_config), key=lambda resolution: -resolution.pixels)
        self.all: list[Bucket] = []
        self._groups: list[tuple[Resolution, int, dict[tuple[int, int], int]]] = []
        for resolution in names:
            for num_frames in sorted(bucket_config[resolution.name], reverse=True):
                probability, batch_size = bucket_config[resolution.name][num_frames]
                numbers = {shape: len(self.all) + i for i, shape in enumerate(resolution.shapes(spatial_multiple))}
                self._groups.append((resolution, num_frames, numbers))
                self.all += [Bucket(resolution.name, num_frames, *shape, probability, batch_size) for shape in numbers]
        nearest = lru_cache(maxsize=None)(nearest_shape)
        self.choices = [self._choices_of(clip, fps_max, nearest) for clip in clips]
        if not any(self.choices):
            raise DataError(self._why_none_fits(clips, fps_max))

    def assign(self, seed: int, epoch: int) -> list[np.ndarray]:
        """The clip numbers of each bucket in an epoch, in shuffled order.

        A clip goes to its first choice with that bucket's probability, else to its second choice, and so on; it is
        left out of the epoch if all decline.
        """
        draws = np.random.default_rng((seed, epoch, 0))
        chance = draws.random((len(self.choices), max(map(len, self.choices))))
        members: list[list[int]] = [[] for _ in self.all]
        for clip, choices in enumerate(self.choices):
            for choice, number in enumerate(choices):
                if chance[clip, choice] < self.all[number].probability:
                    members[number].append(clip)
                    break
        return [np.array(clips, dtype=np.int64)[np.argsort(draws.random(len(clips)))] for clips in members]

    def _choices_of(self, clip: Clip, fps_max: float, nearest) -> tuple[int, ...]:
        interval = clip_interval(clip, fps_max)
        choices = []
        for resolution, num_frames, numbers in self._groups:
            large_enough = clip.height * clip.width >= PIXELS_NEEDED * resolution.pixels
            if large_enough and frames_needed(num_frames, interval) <= clip.num_frames:
                choices.append(numbers[nearest(clip.height, clip.width, tuple(numbers))])
        return tuple(choices)

    def _why_none_fits(self, clips: Sequence[Clip], fps_max: float) -> str:
        pixels, frames, _ = self._groups[-1][0].pixels, min(group[1] for group in self._groups), None
        largest = max(clips, key=lambda clip: clip.height * clip.width)
        longest = max(-(-clip.num_frames // clip_interval(clip, fps_max)) for clip in clips)
        return (
            f"--bucket_config: none of the {len(clips)} clips fits. The smallest resolution needs "
            f"{PIXELS_NEEDED * pixels:.0f} pixels and the largest clip is {largest.width}x{largest.height}; at least "
            f"{frames} frames are needed and the longest clip has {longest} at --dataset.fps_max {fps_max:g}"
        )


class EpochPlan:
    """The order of one epoch.

    Attributes:
        steps: one `Step` after the other. Steps of different buckets are mixed so that each bucket is used up evenly.
        orders: bucket -> clip numbers in the order of use, the first ones repeated at the end so that every rank has a
            full batch in every step.
    """

    def __init__(self, buckets: Buckets, seed: int, epoch: int, world_size: int) -> None:
        self.seed, self.epoch = seed, epoch
        self.orders: dict[Bucket, np.ndarray] = {}
        self._numbers = {bucket: number for number, bucket in enumerate(buckets.all)}
        places: list[tuple[float, int, Step]] = []
        for number, (bucket, clips) in enumerate(zip(buckets.all, buckets.assign(seed, epoch), strict=True)):
            if not len(clips):
                continue
            self.orders[bucket] = clips
            size = bucket.batch_size * world_size
            count = -(-len(clips) // size)
            # Step i of n lies at a random point of the i-th n-th of the epoch. With another number of ranks the
            # same share of every bucket has therefore been used at the same number of samples.
            times = (np.arange(count) + np.random.default_rng((seed, epoch, 1, number)).random(count)) / count
            places += [(time, number, Step(bucket, i * size)) for i, time in enumerate(times)]
        self.steps = [step for _, _, step in sorted(places, key=lambda place: place[:2])]
        if not self.steps:
            raise DataError(f"--bucket_config: its probabilities left no clip for epoch {epoch}; raise them")

    def samples_before(self, position: int, world_size: int) -> int:
        """Clips used on all ranks together before step `position`."""
        return world_size * sum(step.bucket.batch_size for step in self.steps[:position])

    def position_after(self, samples: int, world_size: int) -> int:
        """The first step before which at least so many clips have been used."""
        used = np.cumsum([0] + [world_size * step.bucket.batch_size for step in self.steps])
        return int(np.searchsorted(used, samples))

    def draw(self, bucket: Bucket, position: int) -> np.ndarray:
        """Three numbers in [0, 1) that settle start frame, top and left of the clip at a position of a bucket."""
        return np.random.default_rng((self.seed, self.epoch, 2, self._numbers[bucket], position)).random(3)

    def candidates(self, bucket: Bucket, position: int) -> list[int]:
        """Clip numbers to try for a position, in order: its own clip, the rest of its bucket, then clips of other
        buckets that are at least as long (they are cropped to this shape)."""
        own = self.orders[bucket]
        start = position % len(own)
        others = [clips for other, clips in self.orders.items() if other != bucket and other.num_frames >= bucket.num_frames]
        return np.concatenate([own[start:], own[:start], *others]).tolist()


def check_bucket_config(bucket_config: Mapping) -> None:
    """Raise ConfigError unless this is resolution -> frames -> (probability, batch size) with legal values."""
    if not bucket_config or not all(bucket_config.values()):
        raise ConfigError('--bucket_config: it is empty; an example is {"256px_ar1:1": {32: (1.0, 1)}}')
    for name, by_frames in bucket_config.items():
        if parse_resolution(name).short_side:
            raise ConfigError(f"--bucket_config: {name} has no fixed shape; write {name}px or {name}px_ar1:1")
        for num_frames, (probability, batch_size) in by_frames.items():
            check_range(f"--bucket_config {name}: number of frames", num_frames, 1)
            check_range(f"--bucket_config {name}: {num_frames}: probability", probability, 0.0, 1.0)
            check_range(f"--bucket_config {name}: {num_frames}: batch size", batch_size, 1)


def clip_interval(clip: Clip, fps_max: float) -> int:
    """Take every how-manieth frame of a clip: ceil(fps / fps_max), and every frame if its rate is not known."""
    return frame_interval(clip.fps, fps_max) if clip.fps > 0 else 1


def frames_needed(num_frames: int, interval: int) -> int:
    """Frames that a clip must have to give `num_frames`, one every `interval`."""
    return (num_frames - 1) * interval + 1
