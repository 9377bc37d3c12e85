"""Progress of a job on the terminal."""

from tqdm import tqdm

from workbench.roundtrip.progress import WRITE, ProgressMeter
from workbench.steps import Progress

_WHAT = {"encode": "encoded", "decode": "decoded", "measure": "frames measured"}
_LONGEST_LABEL = 24


class ShareBar(tqdm):
    """A bar over so many stages of a job, one as long as the other, and the name of the one at work."""

    def __init__(self, label: str, stages: int, disable: bool = False) -> None:
        layout = "{desc}: {percentage:3.0f}%|{bar:10}| {elapsed}{postfix}"
        short = label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
        super().__init__(total=1.0, desc=short, bar_format=layout, dynamic_ncols=True, disable=disable)
        self._meter = ProgressMeter(stages)

    def show(self, progress: Progress) -> None:
        """One more piece is done; the time since the last one was its own."""
        self._meter.add(progress)
        self.set_postfix_str(progress.stage, refresh=False)
        self.update(self._meter.share - self.n)


class StageBar(ShareBar):
    """A bar over encoding, decoding and measuring, a third each: the time left, and what is done of the last."""

    def __init__(self, label: str, disable: bool = False) -> None:
        super().__init__(label, len(_WHAT), disable)

    def show(self, progress: Progress) -> None:
        """One more piece is done; the time since the last one was its own."""
        if progress.stage == WRITE:  # tables, at once
            return
        self._meter.add(progress)
        if progress.stage == "count":
            self.set_postfix_str(f"{progress.done} frames counted")
            return
        seconds = self._meter.seconds_left
        left = [] if seconds is None else [f"about {self.format_interval(seconds)} left"]
        furthest = max(self._meter.reports, key=lambda report: list(_WHAT).index(report.stage))
        self.set_postfix_str(", ".join([*left, _done(furthest)]), refresh=False)
        self.update(self._meter.share - self.n)


def _done(progress: Progress) -> str:
    return f"{progress.done}/{progress.total} {_WHAT[progress.stage]}"
