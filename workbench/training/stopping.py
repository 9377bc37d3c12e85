"""Being asked to stop: SIGTERM and Ctrl-C end a run after the step in hand, with a checkpoint."""

import os
import signal
from types import FrameType

_AGAIN = b"\nCtrl-C: stopping after this step, with a checkpoint; press it again to stop at once, without one\n"


class StopRequest:
    """Notes SIGTERM, however often, and a first Ctrl-C for the loop to see after its step; a second one interrupts.

    A context manager: it puts the handlers back at the end.

    Attributes:
        number: the signal noted last, 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._interrupted = False

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            os.write(2, _AGAIN)  # print() must not be called from a signal handler
        self.number = number


def exit_status(number: int) -> int:
    """How a run ends that a signal has stopped after saving: 143 for SIGTERM, 130 for Ctrl-C, as a shell says it."""
    return 128 + number
