"""Ranks: the process group that torchrun sets up, errors that end all of them, and work that they share.

Two rules for errors, for two kinds of work. In training, ranks are in step anyway: `agreed` asks after each piece that
may fail on one rank alone. On clips they are not: `Lockstep` tells of an error at the next call, whatever it is.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from workbench.devices import pick_device
from workbench.errors import WorkbenchError, first_line

_LONGEST_WAIT = timedelta(days=30)  # for a rank that counts or writes a long clip; torchrun notices dead ones


T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among all: its rank, their number, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def process_group(device: str | None) -> Iterator[World]:
    """The process group that torchrun set up, or one of a single process under plain python.

    A group of one keeps the rest free of special cases: a mean over the ranks is then the value itself.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    chosen = pick_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
        torch.cuda.set_device(chosen)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    store, rank, size = _store() if under_torchrun() else (dist.HashStore(), 0, 1)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def under_torchrun() -> bool:
    """Whether torchrun started this process as one of several ranks."""
    return "RANK" in os.environ


def restarted_by_torchrun() -> bool:
    """Whether torchrun started these processes anew because one of their predecessors died."""
    return _restarts() > 0


@contextmanager
def agreed(world: World) -> Iterator[None]:
    """Let all ranks fail together: an error inside on any rank is raised on all, the same one, after the block.

    For what can fail on one rank alone, such as reading a clip or writing a file; there must be no collective operation
    inside, since a rank that failed would not take part in it. A step's own errors do not belong here: the rank just
    ends, and torchrun with it the others.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    failures = torch.tensor(float(error is not None))  # on the CPU: nothing waits for the GPU
    dist.all_reduce(failures)
    if failures.item() == 0.0:
        return
    errors: list[Exception | None] = [None] * world.size
    dist.all_gather_object(errors, _portable(error, world.rank, (WorkbenchError, OSError)))
    rank, first = next((rank, found) for rank, found in enumerate(errors) if found is not None)
    raise error if error is not None and rank == world.rank else first


@contextmanager
def leaving_together() -> Iterator[None]:
    """Wait for all ranks at the end, or where all have the same error (see `agreed`).

    torchrun ends all ranks as soon as one has failed, also one that still has a file to close; and the connections of a
    rank that is gone are no use to one that still exchanges.
    """
    error: WorkbenchError | None = None
    try:
        yield
    except WorkbenchError as caught:
        error = caught
    dist.barrier()
    if error is not None:
        raise error


def gather_on_main(value: Any, world: World) -> list[Any] | None:
    """Wait for all ranks, however long the last one takes; what they give, which must be picklable, in order on rank 0,
    None on the others.
    """
    group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    parts: list[Any] | None = [None] * world.size if world.is_main else None
    dist.gather_object(value, parts, group=group)
    return parts


def gather_on_all(value: T) -> list[T]:
    """What the ranks give, which must be picklable, in order, on each of them; without a process group the value."""
    if not dist.is_initialized():
        return [value]
    parts = [value] * dist.get_world_size()
    dist.all_gather_object(parts, value)
    return parts


def reduce_mean(values: Mapping[str, Tensor], world: World) -> dict[str, float]:
    """Scalars averaged over the ranks, as the same numbers on each; a NaN or Inf on any rank is one on all."""
    stacked = torch.stack([value.detach().float().to(world.device) for value in values.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, (stacked / world.size).tolist(), strict=True))


def sum_over_ranks(counts: Sequence[int]) -> list[int]:
    """Counts of all ranks added up, the same on each."""
    summed = torch.tensor(counts)  # on the CPU: nothing waits for the GPU
    dist.all_reduce(summed)
    return summed.tolist()


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the ranks; without gradient."""
    tensor = tensor.detach()
    if dist.get_world_size() == 1:
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor)
    return tensor / dist.get_world_size()


class Lockstep:
    """Ranks that do the same work together, each its share, and end together. Made by `lockstep`.

    Every rank must make the same calls in the same order. A call waits for all ranks, as long as it takes.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
        self._known: BaseException | None = None  # the error that the other ranks know of

    def wait(self) -> None:
        """Wait until every rank is here."""
        self._exchange()

    def from_main(self, value: Any) -> Any:
        """The value that rank 0 gives, on all ranks; it must be picklable."""
        return self._exchange(value if self.world.is_main else None)[0]

    def gather_values(self, value: Any) -> list[Any]:
        """The values of all ranks in order, on all ranks; they must be picklable."""
        return self._exchange(value)

    def gather(self, tensor: Tensor, to_all: bool) -> list[Tensor]:
        """The tensors of all ranks, which have one shape and type, in order; on the others than rank 0 only if asked,
        else nothing."""
        self._exchange()  # an error on another rank is raised here, not waited for below
        wanted = to_all or self.world.is_main
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.world.size)] if wanted else []
        with _lost_ranks():
            if to_all:
                dist.all_gather(parts, tensor)
            else:
                dist.gather(tensor, parts or None)
        return parts

    @contextmanager
    def shared_errors(self) -> Iterator[None]:
        """An error inside on any rank is raised on every rank, at its next call or at the end of the block.

        All raise the same WorkbenchError, that of the first rank that failed. An error of another kind, a defect or a
        signal, stays what it is on the rank where it arose; the others name it. Rank 0 is the one to tell the user.
        """
        try:
            yield
            self._exchange()
        except BaseException as error:
            if error is not self._known:
                self._tell(error)
            raise

    def _tell(self, error: BaseException) -> None:
        """Let the other ranks know, at their next call, of an error that arose here."""
        try:
            self._exchange(error=error)
        except WorkbenchError:
            if isinstance(error, WorkbenchError):
                raise
        self._known = error

    def _exchange(self, value: Any = None, error: BaseException | None = None) -> list[Any]:
        """The values of all ranks; raises what `shared_errors` says if any has an error."""
        held: list[Any] = [None] * self.world.size
        with _lost_ranks():
            dist.all_gather_object(held, (value, _portable(error, self.world.rank)), group=self._group)
        shared = next((failure for _, failure in held if failure is not None), None)
        if shared is not None:
            shared.told_elsewhere = not self.world.is_main
            self._known = shared
            raise shared
        return [value for value, _ in held]


@contextmanager
def lockstep(device: str | None = None) -> Iterator[Lockstep]:
    """Join the ranks that torchrun started, to work on one clip together; errors inside are shared (`shared_errors`).

    Under plain python it is a group of one. `ranks.world.device` is this rank's device.
    """
    with process_group(device) as world:
        ranks = Lockstep(world)
        try:
            with ranks.shared_errors():
                yield ranks
        finally:  # nobody leaves while another still tidies up: torchrun ends all when one has failed
            with suppress(WorkbenchError):
                ranks.wait()


@contextmanager
def _lost_ranks() -> Iterator[None]:
    """A broken connection as one line: the rank at its other end was killed, or ended on its own."""
    try:
        yield
    except RuntimeError as error:
        raise WorkbenchError(f"the connection to another rank was lost ({first_line(error)})") from None


def _portable(
    error: BaseException | None, rank: int, known: type[Exception] | tuple[type[Exception], ...] = WorkbenchError
) -> Any:
    """What the other ranks raise: an error of a known kind as it is. A defect keeps its traceback on its own rank; the
    others only name it.
    """
    if error is None or isinstance(error, known):
        return error
    return WorkbenchError(f"rank {rank} ended: {type(error).__name__}: {first_line(error)}")


def _store() -> tuple[dist.Store, int, int]:
    """torchrun's store, this rank and the number of ranks.

    After a restart the store may still hold the addresses of the processes that died; a prefix keeps them apart.
    """
    store, rank, size = next(dist.rendezvous("env://"))
    return dist.PrefixStore(f"attempt-{_restarts()}", store), rank, size


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
