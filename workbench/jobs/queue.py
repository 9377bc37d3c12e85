"""Jobs that run one after the other in threads of their own, whoever started them and whether they still look."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, WorkbenchError
from workbench.jobs.folders import discard
from workbench.roundtrip.progress import MEASURE, ProgressMeter
from workbench.steps import Progress, Steps

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
CRASHED = "Something went wrong that should not have: the app's log tells more."

_CLOSING_S = 10.0
_REST_S = 1.5
"""After a result: whoever has seen it may start the next job at once, which would wait for a step of LPIPS."""


@dataclass(eq=False)
class Job:
    """One piece of work of one visitor, and how far it is.

    Attributes:
        start: makes the steps, which write into `folder`; called when its turn has come.
        explain: an error in the visitor's words.
        stages: see `ProgressMeter`.
        more: makes steps that better the result once it is there; they give way to jobs that wait.
        state: one of the constants above.
        version: grows with every new result.
        progress: what was reported last, the share done and the seconds left, of the steps that run.
    """

    visitor: str
    folder: Path
    start: Callable[[Path], Steps[Any]]
    explain: Callable[[WorkbenchError], str]
    stages: int
    more: Callable[[Any], Steps[Any]] | None = None
    on_end: Callable[["Job"], None] = lambda job: None
    about: Any = None
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    state: str = WAITING
    version: int = 0
    result: Any = None
    error: str = ""
    progress: tuple[Progress, float, float | None] | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs, and has no result yet."""
        return self.state in (WAITING, RUNNING)


class JobQueue:
    """Runs jobs in order, `at_once` at a time; what betters a result comes when nothing else waits.

    A job that fails or is cancelled leaves no folder.
    """

    def __init__(self, at_once: int = 1, most_waiting: int = 16) -> None:
        self._at_once, self._most_waiting = at_once, most_waiting
        self._waiting: deque[Job] = deque()
        self._later: deque[tuple[Job, Steps[Any]]] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._rest_until = 0.0

    def submit(self, job: Job) -> Job:
        """Take a job.

        Raises:
            ConfigError: too many are waiting.
        """
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                raise ConfigError(f"too many jobs: {len(self._waiting)} waiting already; try again when some are done")
            self._waiting.append(job)
            self._wake()
        return job

    def prepare(self, steps: Steps[Any]) -> None:
        """Take steps that are nobody's job, in the thread of the jobs, while nothing else is to be done."""
        nobodys = Job("", Path(), lambda _: steps, str, 1)
        with self._changed:
            self._later.append((nobodys, steps))
            self._wake()

    def _wake(self) -> None:
        if len(self._threads) < self._at_once:
            self._threads.append(threading.Thread(target=self._work, daemon=True, name="jobs"))
            self._threads[-1].start()
        self._changed.notify()

    def ahead_of(self, job: Job) -> int:
        """How many jobs come before one that waits, those that run included."""
        with self._changed:
            waiting = list(self._waiting)
            return len(self._running) + (waiting.index(job) if job in waiting else 0)

    def cancel(self, job: Job) -> None:
        """Stop a job within one tile; it is told to be cancelled at once. One that has its result keeps it."""
        with self._changed:
            self._later = deque(entry for entry in self._later if entry[0] is not job)
            if not job.is_active:
                return
            was_waiting = job in self._waiting
            job.state = CANCELLED
            if was_waiting:
                self._waiting.remove(job)
        if was_waiting:
            self._end(job)

    def close(self) -> None:
        """Cancel all jobs and wait a while for the threads to end."""
        with self._changed:
            self._closed = True
            jobs = [*self._waiting, *self._running]
            self._changed.notify_all()
        for job in jobs:
            self.cancel(job)
        for thread in self._threads:
            thread.join(_CLOSING_S)
        for _, steps in self._later:
            steps.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._later)
                rest_s = max(0.0, self._rest_until - time.monotonic())
                self._changed.wait_for(lambda: self._closed or self._waiting, rest_s)
                if self._closed:
                    return
                if not (self._waiting or self._later):  # cancelled meanwhile
                    continue
                if not self._waiting:
                    job, steps = self._later.popleft()
                else:
                    job, steps = self._waiting.popleft(), None
                    job.state = RUNNING
                    self._running.append(job)
            try:
                if steps is None:
                    self._run(job)
                else:
                    self._better(job, steps)
            except Exception:  # a bug: those who wait are not to wait for ever
                _log_crash()

    def _run(self, job: Job) -> None:
        try:
            self._finish(job, self._drive(job, job.start(job.folder)))
        except WorkbenchError as error:
            job.error = job.explain(error).replace(f"{job.folder}/", "")
        except Exception:  # a bug: the queue goes on, and the log gets its traceback
            _log_crash()
            job.error = CRASHED
        finally:
            with self._changed:
                self._running.remove(job)
                if job.state == RUNNING:
                    job.state, job.error = FAILED, job.error or CRASHED
            self._end(job)

    def _drive(self, job: Job, steps: Steps[Any]) -> Any:
        """The steps' result; None, with the steps closed, once the job is cancelled."""
        meter = ProgressMeter(job.stages)
        try:
            while job.state == RUNNING:
                progress = next(steps)
                meter.add(progress)
                job.progress = progress, meter.share, meter.seconds_left
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def _finish(self, job: Job, result: Any) -> None:
        with self._changed:
            if job.state != RUNNING:
                return
            job.result, job.state, job.version, job.progress = result, DONE, 1, None
            self._rest_until = time.monotonic() + _REST_S
            if job.more:
                job.progress = Progress(MEASURE, 0, 0), 0.0, None
                self._later.append((job, job.more(result)))

    def _better(self, job: Job, steps: Steps[Any]) -> None:
        """One step towards a better result, so that jobs which have come in the meantime are next."""
        try:
            progress = next(steps)
            job.progress = progress, progress.done / max(progress.total, 1), None
            with self._changed:
                self._later.appendleft((job, steps))
        except StopIteration as stop:
            job.result, job.version, job.progress = stop.value, job.version + 1, None
        except WorkbenchError as error:  # most likely removed in the meantime
            job.progress = None
            logging.getLogger(__name__).warning("%s", error)
        except Exception:  # a bug, or memory that ran out: the result stays as it is
            job.progress = None
            _log_crash()

    @staticmethod
    def _end(job: Job) -> None:
        """Whatever happens meanwhile, the job has ended: somebody waits for it."""
        try:
            if job.state != DONE:
                discard(job.folder)
            job.on_end(job)
        except Exception:
            _log_crash()
        finally:
            job.ended.set()


def _log_crash() -> None:
    """The traceback of the exception that is being handled, for whoever runs the app."""
    logging.getLogger(__name__).exception("a job crashed")
