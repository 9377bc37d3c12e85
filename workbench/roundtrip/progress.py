"""How far a job is, and the time left at the pace so far."""

import time
from dataclasses import dataclass

from workbench.steps import Progress

MEASURE, WRITE = "measure", "write"
"""Stages of frames; the others are of tiles."""


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
        self._last = time.monotonic()

    def add(self, progress: Progress) -> None:
        """Take note of it; the time since the report before is what it took."""
        now = time.monotonic()
        self.latest, elapsed, self._last = progress, now - self._last, now
        if progress.stage != "count":
            before = self._stages.get(progress.stage)
            self._stages[progress.stage] = _Stage(progress, elapsed + (before.seconds if before else 0.0))

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
        """None while stages are to come and nothing is decoded: with most models that takes far longer than encoding,
        so that any number told before would be too low. Frames that are measured were decoded."""
        begun = self._begun
        waiting = max(0, self._expected - len(begun))
        decoded = any(name.endswith(("decode", MEASURE)) for name, stage in self._stages.items() if stage.latest.done)
        if waiting and not decoded:
            return None
        expected = sum(stage.expected_s for stage in begun)
        return expected - sum(stage.seconds for stage in begun) + waiting * expected / len(begun)

    @property
    def _begun(self) -> list[_Stage]:
        return [stage for stage in self._stages.values() if stage.latest.done]
