"""Batches for training: seeded, the same number on every rank, and resumable at any batch."""

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from workbench.config import check_range
from workbench.data.buckets import Bucket, Buckets, EpochPlan, Step, clip_interval, frames_needed
from workbench.data.clips import ClipRequest, ClipSlot, read_clip
from workbench.data.kept import KeptClips
from workbench.data.settings import BucketConfig, DataConfig
from workbench.data.workers import Prefetcher
from workbench.errors import ConfigError
from workbench.files import quoted
from workbench.media.index import Clip, read_index
from workbench.media.video import to_float

logger = logging.getLogger(__name__)


@dataclass
class Batch:
    """Clips of one shape.

    Attributes:
        pixels: float32 (B, 3, T, H, W) in [-1, 1].
        paths: the B files that they come from.
        num_new: how many of them, the first ones, are new in this epoch; the others fill up a bucket's last batch.
    """

    pixels: Tensor
    paths: list[str]
    num_new: int


class ClipLoader:
    """An endless iterator over batches, epoch after epoch.

    Every rank makes its own loader with the same arguments but `rank`. Batch k then has the same shape on all of them,
    and an epoch has the same number of batches. Which clips a batch holds, and how they are cut and cropped, is a pure
    function of (index, settings, seed, epoch, position): neither the number of workers nor a restart changes it. (Only
    a time-out can: on a machine that stalls, a good clip may count as bad.)

    A clip that cannot be read is replaced, on its rank alone, by the next one of its bucket.

    Attributes:
        skipped: path -> reason, for the clips that could not be used so far on this rank.
        num_replaced: how many times a clip of a batch has had to be replaced on this rank, by this loader.
        epoch: the epoch of the next batch, counted from 0.
        position: batches of this epoch handed out so far.
    """

    def __init__(
        self,
        config: DataConfig,
        bucket_config: BucketConfig,
        *,
        spatial_multiple: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        image_probability: float = 0.0,
        device: torch.device | None = None,
    ) -> None:
        """
        Args:
            device: where `in_memory` keeps the clips, and the batches are then; the CPU by default.
            spatial_multiple: sides of the batches are multiples of this.
            image_probability: the part of the batches that have only the first frame of their clips, drawn alike for
                every rank; no more of these clips is decoded.

        Raises:
            DataError: the index is not usable, or none of its clips fits `bucket_config`.
            ConfigError: a setting is out of range, or no index is given.
        """
        if not config.data_path:
            raise ConfigError(
                "`dataset.data_path` is needed; make an index: python -m workbench index FOLDER --out data.csv"
            )
        check_range("seed", seed, 0)
        index = read_index(config.data_path)
        self._config, self._clips, self._base = config, index.clips, index.base
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._buckets = Buckets(index.clips, bucket_config, spatial_multiple, config.fps_max, config.vary)
        self._fingerprint = _fingerprint(index.clips, self._buckets.all, config)
        self._plan_of = lru_cache(maxsize=3)(
            lambda epoch: EpochPlan(self._buckets, seed, epoch, world_size, image_probability)
        )
        self._kept = KeptClips(index.clips, device or torch.device("cpu")) if config.in_memory else None
        self._source: Generator[list[ClipSlot], None, None] | Prefetcher | None = None
        self.skipped: dict[str, str] = dict(index.skipped)
        self.num_replaced = 0
        self.epoch = self.position = 0
        self._announce(index.warning)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in the present epoch; with bucket probabilities below 1 epochs differ."""
        return len(self._plan_of(self.epoch).steps)

    def __iter__(self) -> "ClipLoader":
        return self

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            DataError: `max_bad_in_a_row` clips in a row could not be read, or all that fit. It may happen on one rank
                alone, so ranks must agree on it before they enter a collective operation.
        """
        try:
            source = self._source = self._source or self._start()
            slots = next(source)
        except BaseException:
            self.close()
            raise
        self._record_failures(slots)
        num_new = self._num_new()
        self._advance()
        frames_BTCHW = torch.stack([slot.read_frames for slot in slots])
        return Batch(to_float(frames_BTCHW.transpose(1, 2)), [slot.request.path for slot in slots], num_new)

    def close(self) -> None:
        """Stop the workers and drop what they have prefetched. The next batch starts them again."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def upcoming(self, count: int) -> list[list[ClipRequest]]:
        """What the next `count` batches read on this rank, a request for each clip, without reading anything."""
        batches = itertools.islice(self._upcoming(self.epoch, self.position), count)
        return [[slot.request for slot in slots] for slots in batches]

    def go_to_largest(self) -> None:
        """Continue with a batch of this epoch that has the most values, and is not cut to images: a trial of memory."""
        self.close()
        plan = self._plan_of(self.epoch)
        sizes = [(not image, step.bucket.num_values) for step, image in zip(plan.steps, plan.images, strict=True)]
        self.position = sizes.index(max(sizes))

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, as plain values; the same on every rank."""
        return {
            "seed": self._seed,
            "epoch": self.epoch,
            "position": self.position,
            "samples": self._plan_of(self.epoch).samples_before(self.position),
            "world_size": self._world_size,
            "fingerprint": self._fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[str]:
        """Continue where `state_dict` was taken.

        Returns:
            What makes the continuation differ from the unbroken run, one line each (also logged by rank 0). It is empty
            if the index, the settings, the seed and the number of ranks are the same. Otherwise the loader continues
            in the same epoch after as many clips as were used before.
        """
        self.close()
        differences = self._differences(state)
        self.epoch = state["epoch"]
        plan = self._plan_of(self.epoch)
        self.position = plan.position_after(state["samples"]) if differences else state["position"]
        self._roll_over()
        if self._rank == 0:
            for line in differences:
                logger.warning("resume: %s", line)
        return differences

    def _start(self) -> Generator[list[ClipSlot], None, None] | Prefetcher:
        batches = self._upcoming(self.epoch, self.position)
        if self._config.num_workers and not self._kept:
            return Prefetcher(batches, self._config.num_workers, self._config.worker_timeout_s)
        return _read_here(batches, self._kept.read if self._kept else read_clip)

    def _upcoming(self, epoch: int, position: int) -> Iterator[list[ClipSlot]]:
        """What this rank must read for each step from here on."""
        while True:
            plan = self._plan_of(epoch)
            for step, image in zip(plan.steps[position:], plan.images[position:], strict=True):
                yield self._slots(plan, step, 1 if image else step.bucket.num_frames)
            epoch, position = epoch + 1, 0

    def _slots(self, plan: EpochPlan, step: Step, num_frames: int) -> list[ClipSlot]:
        first = self._first_place(step)
        return [self._slot(plan, step.bucket, num_frames, first + i) for i in range(step.bucket.batch_size)]

    def _slot(self, plan: EpochPlan, bucket: Bucket, num_frames: int, place: int) -> ClipSlot:
        draw = plan.draw(bucket, place)
        candidates = plan.candidates(bucket, place)
        requests = (self._request(self._clips[number], bucket, num_frames, *draw) for number in candidates)
        return ClipSlot(requests, self._config.max_bad_in_a_row)

    def _request(
        self, clip: Clip, bucket: Bucket, num_frames: int, start: float, top: float, left: float
    ) -> ClipRequest:
        """The first `num_frames` of the frames that the bucket takes of a clip."""
        interval = clip_interval(clip, self._config.fps_max)
        is_scene = self._config.vary and clip.num_frames == 1 < num_frames
        room = max(0, clip.num_frames - frames_needed(bucket.num_frames, interval))  # photos may stand for longer clips
        crop = (top, left) if self._config.random_crop else (None, None)
        first = int(start * (room + 1))
        request = ClipRequest(clip.path, first, num_frames, interval, bucket.height, bucket.width, *crop)
        return replace(request, variation=int(2**53 * top), is_photo=is_scene) if self._config.vary else request

    def _first_place(self, step: Step) -> int:
        """Where this rank's clips of a step begin in the bucket's order."""
        return step.first + self._rank * step.bucket.batch_size

    def _num_new(self) -> int:
        """How many clips of the next batch are not repeated to fill it."""
        plan = self._plan_of(self.epoch)
        step = plan.steps[self.position]
        left = len(plan.orders[step.bucket]) - self._first_place(step)
        return min(max(left, 0), step.bucket.batch_size)

    def _record_failures(self, slots: list[ClipSlot]) -> None:
        for path, reason in (failure for slot in slots for failure in slot.failed):
            self.num_replaced += 1
            if path not in self.skipped:
                logger.warning("rank %d skips a clip: %s", self._rank, reason)
            self.skipped[path] = reason

    def _advance(self) -> None:
        self.position += 1
        self._roll_over()

    def _roll_over(self) -> None:
        if self.position >= self.steps_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0

    def _differences(self, state: dict[str, Any]) -> list[str]:
        lines = []
        if state["world_size"] != self._world_size:
            lines.append(f"{state['world_size']} ranks became {self._world_size}: clips are batched differently")
        if state["seed"] != self._seed:
            lines.append(f"the seed {state['seed']} became {self._seed}: clips come in another order")
        if state["fingerprint"] != self._fingerprint:
            lines.append("the index, bucket_config or another setting of the data changed: clips come in another order")
        where = (
            f"continuing in epoch {state['epoch']} after {state['samples']} clips; some may come twice or not at all"
        )
        return [f"{line}; {where}" for line in lines]

    def _announce(self, left_out: str | None) -> None:
        if self._rank:
            return
        if self._base is not None:
            logger.info("%s: relative paths are taken from %s", quoted(self._config.data_path), quoted(self._base))
        if left_out:
            logger.warning("%s", left_out)


def _read_here(
    batches: Iterator[list[ClipSlot]], read: Callable[[ClipRequest], Tensor]
) -> Generator[list[ClipSlot], None, None]:
    for slots in batches:
        for slot in slots:
            slot.read(read)
        yield slots


def _fingerprint(clips: list[Clip], buckets: list[Bucket], config: DataConfig) -> str:
    """A digest of all that the order and the cutting of clips depend on; folders may be moved."""
    digest = hashlib.sha256(repr((buckets, config.fps_max, config.random_crop, config.vary)).encode())
    for clip in clips:
        row = os.path.basename(clip.path), clip.num_frames, clip.height, clip.width, clip.fps
        digest.update(repr(row).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
