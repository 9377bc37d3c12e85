"""How far a job is, and the time left at the pace so far."""

import time
from dataclasses import dataclass

from workbench.steps import Progress

ENCODE, MEASURE, WRITE = "encode", "measure", "write"
"""Stages; the last two are of frames."""


@dataclass
class _Stage:
    """What a stage reported last, and the seconds that it took until then."""

    latest: Progress
    seconds: float

    @property
    def expected_s(self) -> float:
        """What all of it takes at its own pace."""
        return self.seconds * self.latest.total / self.latest.done


class ProgressMeter:
    """Progress over all stages of a job. Those that have not begun are taken to last as long as the others on average.

    Args:
        stages: how many there are, without the counting of frames, which comes first and whose end is unknown.

    Attributes:
        latest: what was reported last.
    """

    def __init__(self, stages: int) -> None:
        self.latest: Progress | None = None
        self._expected = stages
        self._stages: dict[str, _Stage] = {}
        self._encode_share: float | None = None
        self._last = time.monotonic()

    def add(self, progress: Progress) -> None:
        """Take note of it; the time since the report before is what it took."""
        now = time.monotonic()
        self.latest, elapsed, self._last = progress, now - self._last, now
        self._encode_share = progress.share or self._encode_share
        if progress.stage != "count":
            before = self._stages.get(progress.stage)
            spent = elapsed if progress.done else 0.0  # until a stage begins, the time is that of loading and reading
            self._stages[progress.stage] = _Stage(progress, spent + (before.seconds if before else 0.0))

    @property
    def reports(self) -> list[Progress]:
        """The latest of every stage that has begun, in the order in which they began."""
        return [stage.latest for stage in self._stages.values()]

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1: every stage counts alike."""
        return min(1.0, sum(stage.latest.done / stage.latest.total for stage in self._begun) / self._expected)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far. While stages are to come and nothing is decoded: at the encoder's, were encoding and
        decoding all, and None where its share is not known, because with most models decoding takes far longer. Frames
        that are measured were decoded."""
        begun = self._begun
        waiting = max(0, self._expected - len(begun))
        decoded = any(name.endswith(("decode", MEASURE)) for name, stage in self._stages.items() if stage.latest.done)
        expected, spent = sum(stage.expected_s for stage in begun), sum(stage.seconds for stage in begun)
        if not waiting or decoded:
            return expected - spent + waiting * expected / len(begun)
        return expected / self._encode_share - spent if self._encode_share and begun else None

    @property
    def _begun(self) -> list[_Stage]:
        return [stage for stage in self._stages.values() if stage.latest.done]
