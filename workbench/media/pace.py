"""Whether the frames of a clip come at an even pace, told from their times one by one."""

from collections.abc import Sequence

from workbench.media.info import is_long_step, is_regular_step


class Pace:
    """What the times of frames, in the order in which they are shown, say about a nominal rate.

    Attributes:
        varies: whether some step does not fit the rate.
        is_disordered: whether some time is not after the one before.
    """

    def __init__(self, fps: float) -> None:
        self.varies = self.is_disordered = False
        self._fps = fps
        self._outruns_clocks = fps > 1000  # which may tick in milliseconds, as Matroska's: two frames share a tick
        self._previous: float | None = None
        self._duration_s: float | None = None

    def add(self, time_s: float | None, duration_s: float | None) -> None:
        """The next frame: when it is shown and for how long, None where the file does not say."""
        if time_s is not None and self._previous is not None:
            self.varies |= not is_regular_step(time_s - self._previous, self._fps)
            self.is_disordered |= time_s < self._previous or (time_s == self._previous and not self._outruns_clocks)
        self._previous = time_s
        self._duration_s = duration_s or None

    def last_duration_s(self, last_kept_s: float | None, interval: int) -> float | None:
        """How long the last frame that is kept, of every `interval`-th, is shown: until the last that was seen ends."""
        if self._duration_s is None or self._previous is None or last_kept_s is None:
            return None
        if interval == 1:
            return self._duration_s
        return max(self._previous + self._duration_s - last_kept_s, interval / self._fps)

    def uneven(
        self, times_s: Sequence[float | None], last_duration_s: float | None, interval: int
    ) -> tuple[float, ...] | None:
        """The times if they tell more than the rate of every `interval`-th frame does, else None."""
        is_long = last_duration_s is not None and is_long_step(last_duration_s, self._fps / interval)
        known = tuple(time for time in times_s if time is not None)
        if self.is_disordered or not (self.varies or is_long) or len(known) != len(times_s):
            return None
        return known

    def warning(self) -> str | None:
        """What a viewer should know, in a line."""
        if self.is_disordered:
            return f"timestamps do not increase: {self._fps:.6g} fps is assumed"
        if self.varies:
            average = f"{self._fps:.6g} fps is the average"
            return f"the frame rate varies, or frames are missing: timestamps are kept, {average}"
        return None
