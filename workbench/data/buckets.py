"""Buckets: which clips can be batched together, and the order of an epoch.

Everything here is a pure function of (clips, bucket_config, seed, epoch): there is no generator whose state would have
to be stored. Every rank computes the same epoch and takes its own part of each step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workbench.config import check_range
from workbench.data.settings import BucketConfig
from workbench.errors import ConfigError, DataError
from workbench.media.index import Clip
from workbench.media.info import frame_interval
from workbench.media.resolution import Resolution, nearest_shape, parse_resolution

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

    @property
    def num_values(self) -> int:
        """Values in a batch of one rank."""
        return self.batch_size * 3 * self.num_frames * self.height * self.width


@dataclass(frozen=True)
class Step:
    """One batch on every rank: places `first` to `first + batch_size * world_size` of the bucket's order."""

    bucket: Bucket
    first: int


@dataclass(frozen=True)
class _Group:
    """The buckets of one resolution and number of frames: shape -> number in `Buckets.all`."""

    resolution: Resolution
    num_frames: int
    numbers: dict[tuple[int, int], int]


class Buckets:
    """The buckets of a configuration, and which of them each clip may go to.

    Attributes:
        all: every bucket, in a fixed order: resolutions by falling pixels, frames by falling count, then shapes.
        choices: for each clip the numbers in `all` of the buckets that it fits, the preferred one first.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        bucket_config: BucketConfig,
        spatial_multiple: int,
        fps_max: float,
        any_length: bool = False,
    ) -> None:
        """Photos fit any number of frames if `any_length`: scenes are made of them.

        Raises ConfigError if the configuration is not one, DataError if no clip fits any of it.
        """
        check_bucket_config(bucket_config)
        self.all: list[Bucket] = []
        self._groups: list[_Group] = []
        for name in sorted(bucket_config, key=lambda name: -parse_resolution(name).pixels):
            for num_frames in sorted(bucket_config[name], reverse=True):
                self._add_group(parse_resolution(name), num_frames, *bucket_config[name][num_frames], spatial_multiple)
        nearest = lru_cache(maxsize=None)(nearest_shape)
        self.choices = [self._choices_of(clip, fps_max, nearest, any_length) for clip in clips]
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
            taken = (n for n, p in zip(choices, chance[clip], strict=False) if p < self.all[n].probability)
            if (number := next(taken, None)) is not None:
                members[number].append(clip)
        return [np.array(clips, dtype=np.int64)[np.argsort(draws.random(len(clips)))] for clips in members]

    def _add_group(
        self, resolution: Resolution, num_frames: int, probability: float, batch_size: int, spatial_multiple: int
    ) -> None:
        numbers = {shape: len(self.all) + i for i, shape in enumerate(resolution.shapes(spatial_multiple))}
        self._groups.append(_Group(resolution, num_frames, numbers))
        self.all += [Bucket(resolution.name, num_frames, *shape, probability, batch_size) for shape in numbers]

    def _choices_of(
        self, clip: Clip, fps_max: float, nearest: Callable[..., tuple[int, int]], any_length: bool
    ) -> tuple[int, ...]:
        interval = clip_interval(clip, fps_max)
        return tuple(
            group.numbers[nearest(clip.height, clip.width, tuple(group.numbers))]
            for group in self._groups
            if clip.height * clip.width >= PIXELS_NEEDED * group.resolution.pixels
            and (clip.num_frames >= frames_needed(group.num_frames, interval) or (any_length and clip.num_frames == 1))
        )

    def _why_none_fits(self, clips: Sequence[Clip], fps_max: float) -> str:
        largest = max(clips, key=lambda clip: clip.height * clip.width)
        longest = max(-(-clip.num_frames // clip_interval(clip, fps_max)) for clip in clips)
        return (
            f"`bucket_config`: none of the {len(clips)} clips fits. Its smallest resolution needs "
            f"{PIXELS_NEEDED * self._groups[-1].resolution.pixels:.0f} pixels, and the largest clip is "
            f"{largest.width}x{largest.height}; it needs {min(group.num_frames for group in self._groups)} frames or "
            f"more, and the longest clip has {longest} at `dataset.fps_max` {fps_max:g}"
        )


class EpochPlan:
    """The order of one epoch.

    Attributes:
        steps: one `Step` after the other. Steps of different buckets are mixed so that each bucket is used up evenly.
        orders: for each bucket with clips, their numbers in the order of use. The last step of a bucket goes on at the
            beginning of this order, so that every rank has a full batch.
        images: for each step whether its clips are cut to their first frame.
    """

    def __init__(
        self, buckets: Buckets, seed: int, epoch: int, world_size: int, image_probability: float = 0.0
    ) -> None:
        self.orders: dict[Bucket, np.ndarray] = {}
        self._seed, self._epoch = seed, epoch
        self._numbers = {bucket: number for number, bucket in enumerate(buckets.all)}
        timed: list[tuple[float, int, Step]] = []
        for number, (bucket, clips) in enumerate(zip(buckets.all, buckets.assign(seed, epoch), strict=True)):
            if len(clips):
                self.orders[bucket] = clips
                count = -(-len(clips) // (bucket.batch_size * world_size))
                times = self._times(number, count)
                timed += [(times[i], number, Step(bucket, i * bucket.batch_size * world_size)) for i in range(count)]
        if not timed:
            raise DataError(f"`bucket_config`: its probabilities left no clip for epoch {epoch}; raise them")
        self.steps = [step for _, _, step in sorted(timed, key=lambda item: item[:2])]
        self.images = np.random.default_rng((seed, epoch, 3)).random(len(self.steps)) < image_probability
        self._used = np.cumsum([0] + [world_size * step.bucket.batch_size for step in self.steps])

    def samples_before(self, position: int) -> int:
        """Clips used on all ranks together before step `position`."""
        return int(self._used[position])

    def position_after(self, samples: int) -> int:
        """The first step before which at least so many clips are used; the number of steps if there is none."""
        return min(int(np.searchsorted(self._used, samples)), len(self.steps))

    def draw(self, bucket: Bucket, place: int) -> tuple[float, float, float]:
        """Numbers in [0, 1) that settle start frame, top and left of the clip at a place of a bucket's order."""
        key = (self._seed, self._epoch, 2, self._numbers[bucket], place)
        return tuple(np.random.default_rng(key).random(3).tolist())

    def candidates(self, bucket: Bucket, place: int) -> Iterator[int]:
        """Clip numbers to try for a place of a bucket's order, in this order: its own clip, the rest of the bucket,
        then the clips of other buckets that are long enough (and will be cropped to this bucket's shape)."""
        own = self.orders[bucket]
        yield from (int(own[(place + i) % len(own)]) for i in range(len(own)))
        for other, clips in self.orders.items():
            if other != bucket and other.num_frames >= bucket.num_frames:
                yield from clips.tolist()

    def _times(self, number: int, count: int) -> np.ndarray:
        """When the steps of a bucket come, as parts of the epoch: step i of n at a random point of the i-th n-th.

        Whatever the number of ranks, the same share of each bucket has then been used after the same number of clips.
        """
        jitter = np.random.default_rng((self._seed, self._epoch, 1, number)).random(count)
        return (np.arange(count) + jitter) / count


def check_bucket_config(bucket_config: BucketConfig) -> None:
    """Raise ConfigError unless this is resolution -> frames -> (probability, batch size) with legal values."""
    if not bucket_config or not all(bucket_config.values()):
        raise ConfigError('`bucket_config`: it is empty; an example is {"256px_ar1:1": {32: (1.0, 1)}}')
    for name, by_frames in bucket_config.items():
        if parse_resolution(name).short_side:
            raise ConfigError(f"`bucket_config`: {name} has no fixed shape; write {name}px or {name}px_ar1:1")
        for num_frames, (probability, batch_size) in by_frames.items():
            check_range(f"bucket_config {name}: number of frames", num_frames, 1)
            check_range(f"bucket_config {name}: {num_frames}: probability", probability, 0.0, 1.0)
            check_range(f"bucket_config {name}: {num_frames}: batch size", batch_size, 1)


def clip_interval(clip: Clip, fps_max: float) -> int:
    """Take every how-manieth frame of a clip: ceil(fps / fps_max), and every frame if its rate is not known."""
    return frame_interval(clip.fps, fps_max) if clip.fps > 0 else 1


def frames_needed(num_frames: int, interval: int) -> int:
    """Frames that a clip must have to give `num_frames`, one every `interval`."""
    return (num_frames - 1) * interval + 1
