"""Checkpoint folders RUN/step-000123: written whole or not at all, found, and purged.

A folder with that name is complete: it is filled under a temporary name, every file is brought to disk, and only then
renamed. Old ones are purged after that, and lose their name before their files.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from workbench.errors import WorkbenchError, first_line
from workbench.training.distributed import World

_NAME = re.compile(r"step-(\d{6,})")
_UNFINISHED = ".step-*.tmp"


class CheckpointError(WorkbenchError):
    """A checkpoint is missing, cannot be written, or belongs to another run."""


def checkpoints(run: Path) -> dict[int, Path]:
    """The complete checkpoints of a run folder by step, oldest first."""
    found = {int(match[1]): path for path in run.glob("step-*") if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint folder's name tells."""
    return int(_NAME.fullmatch(checkpoint.name)[1])


def find_checkpoint(resume: str, run: Path) -> Path:
    """The folder that `--resume` names: `latest` of the run, a checkpoint folder, or a run folder's newest.

    Raises:
        CheckpointError: there is none; a run never starts afresh instead.
    """
    folder = run if resume == "latest" else Path(resume).expanduser()
    if folder.is_dir() and _NAME.fullmatch(folder.resolve().name):
        return folder.resolve()
    known = checkpoints(folder)
    if known:
        return known[max(known)]
    if resume == "latest":
        raise CheckpointError(f"--resume latest: {run} holds no checkpoint; leave --resume out to start a new run")
    nearby = checkpoints(folder.parent)
    hint = f"; {folder.parent} has {', '.join(path.name for path in nearby.values())}" if nearby else ""
    raise CheckpointError(f"--resume {resume}: no such checkpoint{hint}")


def write_checkpoint(run: Path, step: int, write: Callable[[Path], None], keep: int, world: World) -> Path:
    """Make RUN/step-NNNNNN from what `write(folder)` puts there; every rank calls both. Then keep the newest `keep`.

    Raises:
        CheckpointError: the disk is full or not writable; what was written of it is removed.
    """
    final = run / f"step-{step:06d}"
    temporary = run / f".{final.name}.tmp"
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    dist.barrier()
    try:
        write(temporary)
    except (OSError, SafetensorError, WorkbenchError, CheckpointException) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{final}: cannot be written ({first_line(error)}); earlier checkpoints are intact"
        ) from error
    dist.barrier()
    if world.is_main:
        _commit(temporary, final)
        _purge(run, keep)
    dist.barrier()
    return final


@contextmanager
def run_lock(run: Path, world: World) -> Iterator[None]:
    """Make the run folder and keep it for this run, so that no second one writes there at the same time.

    Raises:
        CheckpointError: another process trains in it, or it cannot be written to.
    """
    if not world.is_main:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("ab")
    except OSError as error:
        raise CheckpointError(f"--save_dir {run}: cannot be written to ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CheckpointError(f"--save_dir {run}: another process trains there; name another folder") from None
        yield


def remove_unfinished(run: Path) -> None:
    """Delete what a killed process left of a checkpoint that it was writing or purging."""
    for folder in run.glob(_UNFINISHED):
        shutil.rmtree(folder)


def _commit(temporary: Path, final: Path) -> None:
    for path in [*temporary.rglob("*"), temporary]:
        _to_disk(path)
    temporary.rename(final)
    _to_disk(final.parent)


def _purge(run: Path, keep: int) -> None:
    for path in list(checkpoints(run).values())[:-keep]:
        doomed = path.rename(run / f".{path.name}.tmp")
        shutil.rmtree(doomed)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
