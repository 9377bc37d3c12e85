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
    """`total` and `seconds_left` are None where the configuration does not say how many steps there will be.

    Attributes:
        lr: the autoencoder's learning rate at the last step.
    """

    state: str
    step: int
    total: int | None
    seconds_left: float | None
    lr: float | None


def run_state(run: Path, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> RunState:
    """Running as long as the run's lock is held; done at its last step; stopped where it saved the step at which it
    ended, and otherwise failed. Without a known last step, one that saved is taken for done."""
    step = max((int(row["step"]) for row in rows), default=0)
    total = config.get("max_steps")
    if _is_held(run / ".lock"):
        state = RUNNING
    elif total and step >= total:
        state = DONE
    elif (run / f"step-{step:06d}").is_dir():
        state = STOPPED if total else DONE
    else:
        state = FAILED
    return RunState(state, step, total, _left(rows, step, total) if state == RUNNING else None, _lr(config, step))


def _left(rows: Sequence[Mapping[str, Any]], step: int, total: int | None) -> float | None:
    seconds = [row["step_s"] for row in rows if row.get("step_s")][-_RECENT_STEPS:]
    return (total - step) * math.fsum(seconds) / len(seconds) if total and seconds else None


def _lr(config: Mapping[str, Any], step: int) -> float | None:
    lr, warmup = config.get("lr"), config.get("warmup_steps") or 0
    return lr if lr is None or not warmup else lr * min(1.0, (step + 1) / warmup)


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
