"""What visitors have run: a card each, with its files, until it is removed or its place is needed."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from workbench.jobs.folders import discard
from workbench.jobs.queue import CANCELLED, DONE, FAILED, Job, JobQueue


class Shelf:
    """The jobs of every visitor, oldest first. Their folders lie under one root that only this process uses.

    Args:
        most_bytes: of all results together; beyond it the oldest go, whoever's they are.
        most_cards: of one visitor.
    """

    def __init__(self, root: Path, queue: JobQueue, most_bytes: float = 8e9, most_cards: int = 24) -> None:
        self.queue, self._root, self._most_bytes, self._most_cards = queue, root, most_bytes, most_cards
        self._jobs: dict[str, Job] = {}
        self._bytes: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, make: Callable[[Path], Job]) -> Job:
        """A new card for a job in a folder of its own, which nobody can guess the name of.

        Raises:
            ConfigError: too many jobs wait.
        """
        folder = self._root / secrets.token_hex(16)
        folder.mkdir(parents=True)
        job = make(folder)
        with self._lock:
            self._jobs[job.id] = job  # before it can end
        try:
            return self.queue.submit(job)
        except Exception:
            with self._lock:
                del self._jobs[job.id]
            discard(folder)
            raise

    def of(self, visitor: str) -> list[Job]:
        """A visitor's cards, oldest first; cancelled ones are none."""
        with self._lock:
            return [job for job in self._jobs.values() if job.visitor == visitor and job.state != CANCELLED]

    def find(self, job: str) -> Job | None:
        """A card by its name, which only its visitor knows."""
        with self._lock:
            return self._jobs.get(job)

    def remove(self, visitor: str, job: str) -> None:
        """Cancel it where it runs, and remove its files."""
        found = self.find(job)
        if found is not None and found.visitor == visitor:
            self._drop(found)

    def gone(self, visitor: str) -> int:
        """How many of a visitor's results had to go for newer ones."""
        return self._gone.get(visitor, 0)

    def make_room(self, newest: Job) -> None:
        """To be called when a job has ended: count its files, and remove the oldest results beyond the limits."""
        size = _bytes_in(newest.folder)
        with self._lock:
            if newest.state == DONE and newest.id in self._jobs:
                self._bytes[newest.id] = size
        for job in list(self._surplus(newest)):
            with self._lock:
                self._gone[job.visitor] = self._gone.get(job.visitor, 0) + 1
            self._drop(job)

    def _surplus(self, newest: Job) -> Iterator[Job]:
        with self._lock:
            others = [job for job in self._jobs.values() if job.state in (DONE, FAILED) and job is not newest]
            total = sum(self._bytes.values())
        mine = [job for job in others if job.visitor == newest.visitor]
        surplus = mine[: max(0, len(mine) + 1 - self._most_cards)]
        yield from surplus
        total -= sum(self._bytes.get(job.id, 0) for job in surplus)
        for job in others:
            if total <= self._most_bytes:
                return
            if job not in surplus:
                total -= self._bytes.get(job.id, 0)
                yield job

    def _drop(self, job: Job) -> None:
        self.queue.cancel(job)
        with self._lock:
            self._jobs.pop(job.id, None)
            self._bytes.pop(job.id, None)
        if not job.is_active:
            discard(job.folder)


def _bytes_in(folder: Path) -> int:
    """Of all files in it; those that are removed meanwhile take nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(where, name)).st_size
    return total
