"""How a training run fares, as it can be told from outside: from its lock, its log and its checkpoints."""

import fcntl
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"
_RECENT_STEPS = 50  # of which the pace is taken


@dataclass(frozen=True)
class RunState:
    """What an older log does not say is None.

    Attributes:
        total: steps of the whole run, after as many epochs or `max_steps`, whichever comes first.
        lr: the autoencoder's learning rate at the last step that was logged.
    """

    state: str
    step: int
    total: int | None
    seconds_left: float | None
    lr: float | None


def run_state(run: Path, rows: Sequence[Mapping[str, Any]]) -> RunState:
    """Running as long as the run's lock is held; done at its last step; stopped where it saved the step at which it
    ended, and otherwise failed. Without a known last step, one that saved is taken for done."""
    step = max((int(row["step"]) for row in rows), default=0)
    total = _last(rows, "total")
    total = None if total is None else int(total)
    if _is_held(run / ".lock"):
        state = RUNNING
    elif total and step >= total:
        state = DONE
    elif (run / f"step-{step:06d}").is_dir():
        state = STOPPED if total else DONE
    else:
        state = FAILED
    return RunState(state, step, total, _left(rows, step, total) if state == RUNNING else None, _last(rows, "lr"))


def _left(rows: Sequence[Mapping[str, Any]], step: int, total: int | None) -> float | None:
    seconds = [row["step_s"] for row in rows if row.get("step_s")][-_RECENT_STEPS:]
    return (total - step) * math.fsum(seconds) / len(seconds) if total and seconds else None


def _last(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if row.get(name) is not None), None)


def _is_held(lock: Path) -> bool:
    """Whether another process holds the lock that `training.checkpoint` takes."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none
        return False
    return False
