"""Progress of a job on the terminal."""

import time

from tqdm import tqdm

from workbench.steps import Progress

_WHAT = {"encode": "tiles encoded", "decode": "tiles decoded", "measure": "frames measured and written"}


class StageBar(tqdm):
    """A bar over encoding, decoding and measuring, a third each, with what is done of each and the time left."""

    def __init__(self, label: str) -> None:
        layout = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}{postfix}"
        super().__init__(total=1.0, desc=label, bar_format=layout, dynamic_ncols=True)
        self._stages: dict[str, Progress] = {}
        self._seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def show(self, progress: Progress) -> None:
        """One more piece is done; the time since the last one was its own."""
        now = time.monotonic()
        if progress.stage == "count":
            self.set_postfix_str(f"{progress.done} frames counted")
        else:
            stage = progress.stage
            self._stages[stage] = progress
            self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
            shown = [f"{stage.done}/{stage.total} {_WHAT[stage.stage]}" for stage in self._stages.values()]
            left = self.format_interval(self._seconds_left())
            self.set_postfix_str(", ".join([f"about {left} left", *shown]), refresh=False)
            self.update(sum(stage.done / stage.total for stage in self._stages.values()) / len(_WHAT) - self.n)
        self._last = now

    def _seconds_left(self) -> float:
        """At each stage's own pace so far; one that has not begun is taken to need the mean of the others."""
        known = [
            (seconds, seconds * (self._stages[stage].total / self._stages[stage].done - 1))
            for stage, seconds in self._seconds.items()
        ]
        whole = sum(map(sum, known)) / len(known)
        return sum(left for _, left in known) + whole * (len(_WHAT) - len(known))
