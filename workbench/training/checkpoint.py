"""Checkpoint folders RUN/step-000123: written whole or not at all, found, and purged.

A folder with that name is complete: it is filled under a temporary name, every file is brought to disk, and only then
renamed. Old ones are purged after that, and lose their name before their files.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from torch.distributed.checkpoint.api import CheckpointException

from workbench.errors import WorkbenchError, first_line
from workbench.models.weights import CHECKPOINT_NAME, checkpoints
from workbench.ranks import World, agreed

_UNFINISHED = ".step-*.tmp"


class CheckpointError(WorkbenchError):
    """A checkpoint is missing, cannot be written, or belongs to another run."""


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint folder's name tells."""
    return int(checkpoint.name.removeprefix("step-"))


def find_checkpoint(resume: str, run: Path) -> Path:
    """The folder that `--resume` names: `latest` of the run, a checkpoint folder, or a run folder's newest.

    Raises:
        CheckpointError: there is none; a run never starts afresh instead.
    """
    folder = run if resume == "latest" else Path(resume).expanduser()
    if folder.is_dir() and CHECKPOINT_NAME.fullmatch(folder.resolve().name):
        return folder.resolve()
    known = checkpoints(folder)
    if known:
        return known[max(known)]
    if resume == "latest":
        raise CheckpointError(f"`resume` latest: {run} holds no checkpoint; leave `resume` out to start a new run")
    nearby = checkpoints(folder.parent)
    hint = f"; {folder.parent} has {', '.join(path.name for path in nearby.values())}" if nearby else ""
    raise CheckpointError(f"`resume` {resume}: no such checkpoint{hint}")


def write_checkpoint(run: Path, step: int, write: Callable[[Path], None], keep: int, world: World) -> Path:
    """Make RUN/step-NNNNNN from what `write(folder)` puts there; every rank calls both. Then keep the newest `keep`.

    Args:
        write: fails on all ranks, or on none.

    Raises:
        CheckpointError: on all ranks, the disk is full or not writable; what was written of it is removed.
    """
    final = run / f"step-{step:06d}"
    temporary = run / f".{final.name}.tmp"
    try:
        with agreed(world):
            if world.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
        write(temporary)
        with agreed(world):
            if world.is_main:
                _commit(temporary, final)
    except (OSError, WorkbenchError, CheckpointException) as error:
        if world.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{final}: cannot be written ({reason_of(error)}); earlier checkpoints are intact"
        ) from error
    with agreed(world):
        if world.is_main:
            _purge(run, keep)
    return final


@contextmanager
def run_lock(run: Path, world: World) -> Iterator[None]:
    """Make the run folder and keep it for this run, so that no second one writes there at the same time.

    Raises:
        CheckpointError: on all ranks, another process trains in it, or it cannot be written to.
    """
    with ExitStack() as held:
        with agreed(world):
            if world.is_main:
                held.enter_context(_locked(run))
        yield


def remove_unfinished(run: Path) -> None:
    """Delete what a killed process left of a checkpoint that it was writing or purging."""
    for folder in run.glob(_UNFINISHED):
        shutil.rmtree(folder)


def _locked(run: Path) -> BinaryIO:
    """An open file of the run folder; the folder is this process's until it is closed."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("ab")
    except OSError as error:
        raise CheckpointError(f"`save_dir` {run}: cannot be written to ({error.strerror})") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise CheckpointError(f"`save_dir` {run}: another process trains there; name another folder") from None
    return file


def reason_of(error: BaseException) -> str:
    """Why writing failed, in one line; torch's distributed checkpoint collects the errors of all ranks."""
    if isinstance(error, CheckpointException):
        return ", ".join(sorted({_line_of(failure[0]) for failure in error.failures.values()}))
    return first_line(error)


def _line_of(failure: BaseException) -> str:
    """torch's writer hides the refusal of the disk behind a position in its file that it did not expect."""
    line = first_line(failure)
    return f"a file could not be finished, as on a full disk: {line}" if "inline_container.cc" in line else line


def _commit(temporary: Path, final: Path) -> None:
    for path in [*temporary.rglob("*"), temporary]:
        _to_disk(path)
    temporary.rename(final)
    _to_disk(final.parent)


def _purge(run: Path, keep: int) -> None:
    for path in list(checkpoints(run).values())[:-keep]:
        try:
            shutil.rmtree(path.rename(run / f".{path.name}.tmp"))
        except OSError as error:
            raise CheckpointError(f"{path}: an old checkpoint cannot be removed ({error.strerror})") from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
