"""Work in steps: generators that yield a `Progress` after every piece and return a result at their end.

A caller shows progress from what they yield, and stops a job within one piece by closing the generator.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """`done` of `total` pieces of one stage: frames of "count", "measure" and "write", tiles and pushes of "encode" and
    "decode", with the name of what is coded before it where there are several; total 0 is unknown.

    Attributes:
        share: the encoder's part of encoding and decoding, where it is known.
    """

    stage: str
    done: int
    total: int
    share: float | None = None


Steps = Generator[Progress, None, T]


def drain(steps: Steps[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run steps to their end and return the result; an error in `on_progress` closes them at once."""
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as stop:
                return stop.value
            if on_progress:
                on_progress(progress)


def named(name: str, steps: Steps[T]) -> Steps[T]:
    """The same steps, their stages with this name before them."""
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as stop:
                return stop.value
            yield replace(progress, stage=f"{name}: {progress.stage}")


def timed(steps: Steps[T]) -> Steps[tuple[T, float]]:
    """The same steps, returning also the seconds spent in them: not those that the caller takes between two of them."""
    seconds = 0.0
    with closing(steps):
        while True:
            begin = time.perf_counter()
            try:
                progress = next(steps)
            except StopIteration as stop:
                return stop.value, seconds + time.perf_counter() - begin
            seconds += time.perf_counter() - begin
            yield progress
