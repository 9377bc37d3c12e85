"""Decoding ahead of the training loop, in worker processes that may hang or die.

torch's DataLoader ends the whole run when a worker dies or a clip takes too long. Here the worker is replaced, the clip
counts as bad, and what is read does not depend on which worker read it, or when.
"""

import atexit
import collections
import contextlib
import logging
import multiprocessing
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait

import torch

from workbench.data.clips import ClipRequest, ClipSlot, read_clip, reason_of
from workbench.errors import DataError, WorkbenchError
from workbench.files import quoted

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 180.0
_KILL_TIMEOUT_S = 5.0
_READY, _READ, _BAD, _BUG = "ready", "read", "bad", "bug"

Slots = list[ClipSlot]


class Prefetcher:
    """An iterator over the given batches, in order, each with all its slots filled; it works ahead in a thread.

    Up to `num_workers + 2` batches are in the making or waiting at a time.
    """

    def __init__(self, batches: Iterator[Slots], num_workers: int, timeout_s: float) -> None:
        self._batches, self._timeout_s = batches, timeout_s
        self._room = threading.Semaphore(num_workers + 2)
        self._wake_receiver, self._wake_sender = multiprocessing.Pipe(duplex=False)
        self._finished: queue.Queue[Slots | BaseException] = queue.Queue()
        self._admitted: collections.deque[Slots] = collections.deque()
        self._waiting: collections.deque[ClipSlot] = collections.deque()
        self._workers: list[_Worker] = []
        self._num_workers = num_workers
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clip-prefetcher", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # before multiprocessing's own handler, which would wait for the workers

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> Slots:
        """The next batch.

        Raises:
            DataError: too many clips in a row could not be read, or the workers do not start.
        """
        result = self._finished.get()
        if isinstance(result, BaseException):
            raise result
        self._room.release()
        self._wake_sender.send_bytes(b".")
        return result

    def close(self) -> None:
        """Stop the thread and the workers; what they were reading is dropped."""
        atexit.unregister(self.close)
        if not self._stopped.is_set():
            self._stopped.set()
            self._wake_sender.send_bytes(b".")
            self._thread.join()
            self._wake_sender.close()
            self._wake_receiver.close()

    def _run(self) -> None:
        try:
            _start_fork_server()
            self._workers = [_Worker() for _ in range(self._num_workers)]
            while not self._stopped.is_set():
                self._admit()
                self._serve()
                self._hand_out()
        except BaseException as error:  # to be raised where the batch is waited for
            self._finished.put(error)
        finally:
            for worker in self._workers:
                worker.kill()

    def _admit(self) -> None:
        while self._room.acquire(blocking=False):
            slots = next(self._batches)
            self._admitted.append(slots)
            self._waiting.extend(slots)

    def _serve(self) -> None:
        """Give work to idle workers, wait for news, and take it in."""
        for worker in self._workers:
            if worker.is_idle and self._waiting:
                worker.assign(self._waiting.popleft(), self._timeout_s)
        deadline = min(worker.deadline for worker in self._workers)
        timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        ready = wait([self._wake_receiver, *(worker.connection for worker in self._workers)], timeout)
        if self._wake_receiver in ready:
            self._wake_receiver.recv_bytes()
        for place, worker in enumerate(self._workers):
            if worker.connection in ready:
                self._receive(place, worker)
            elif time.monotonic() >= worker.deadline:
                self._time_out(place, worker)

    def _receive(self, place: int, worker: "_Worker") -> None:
        try:
            slot = worker.receive()
        except (EOFError, OSError):
            self._replace_dead(place, worker)
            return
        if slot is not None and slot.frames is None:
            self._waiting.appendleft(slot)

    def _replace_dead(self, place: int, worker: "_Worker") -> None:
        code = worker.kill()
        if not worker.has_started:
            raise DataError(f"a decode worker ended with exit code {code} while starting; see its output above")
        logger.warning("a decode worker died (exit code %s) and is replaced", code)
        self._workers[place] = _Worker()
        if worker.slot is not None:
            worker.slot.crash(f"{quoted(worker.slot.request.path)}: the process decoding it died (exit code {code})")
            self._waiting.appendleft(worker.slot)

    def _time_out(self, place: int, worker: "_Worker") -> None:
        worker.kill()
        if not worker.has_started:
            raise DataError(f"a decode worker did not start within {_START_TIMEOUT_S:.0f} s")
        self._workers[place] = _Worker()
        limit = f"`dataset.worker_timeout_s` {self._timeout_s:g}"
        if worker.slot is not None:
            worker.slot.fail(f"{quoted(worker.slot.request.path)}: decoding took longer than {limit}")
            self._waiting.appendleft(worker.slot)

    def _hand_out(self) -> None:
        while self._admitted and all(slot.frames is not None for slot in self._admitted[0]):
            self._finished.put(self._admitted.popleft())


def _start_fork_server() -> None:
    """Start the process that the workers are forked from, so that neither it nor they die of SIGTERM and SIGINT.

    torchrun sends the first to the whole process group of a rank, a terminal the second; what they mean is for the
    trainer to decide. This thread, which never handles signals, blocks both, and what it starts inherits that.
    """
    resource_tracker.ensure_running()  # which unblocks them in the thread that starts it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    forkserver.set_forkserver_preload(["__main__", __name__])
    forkserver.ensure_running()


class _Worker:
    """A process that decodes one clip at a time.

    Attributes:
        slot: what it is decoding.
        has_started: whether it has said that it is ready.
        deadline: when it must have answered, on the monotonic clock.
    """

    def __init__(self) -> None:
        # Forking this process would copy locks that its threads hold. The fork server has no threads, and having
        # imported everything once it starts a replacement within milliseconds.
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), name="clip-decoder", daemon=True)
        self._process.start()
        theirs.close()
        self.slot: ClipSlot | None = None
        self.has_started = False
        self.deadline = time.monotonic() + _START_TIMEOUT_S

    @property
    def is_idle(self) -> bool:
        return self.has_started and self.slot is None

    def assign(self, slot: ClipSlot, timeout_s: float) -> None:
        """Send a clip to decode. A process that has just died is found out when its answer is read."""
        self.slot, self.deadline = slot, time.monotonic() + timeout_s
        with contextlib.suppress(ConnectionError):
            self.connection.send(slot.request)

    def receive(self) -> ClipSlot | None:
        """Take in an answer; returns the slot that it was for, None for the first one, which says that it is ready.

        Raises:
            EOFError, OSError: the process died.
            DataError: too many clips in a row are bad.
            RuntimeError: a fault of this program in the worker, with its traceback.
        """
        kind, detail = self.connection.recv()
        if kind == _BUG:
            raise RuntimeError(f"a decode worker failed:\n{detail}")
        if kind == _READ and self.slot is not None:
            frames = torch.empty(self.slot.request.shape, dtype=torch.uint8)
            self.connection.recv_bytes_into(frames.view(-1).numpy())
            self.slot.frames = frames
        elif kind == _BAD and self.slot is not None:
            self.slot.fail(detail)
        slot, self.slot = self.slot, None
        self.has_started, self.deadline = True, float("inf")
        return slot

    def kill(self) -> int | None:
        """End the process at once; returns its exit code, None if it does not end."""
        self.connection.close()
        self._process.kill()
        self._process.join(_KILL_TIMEOUT_S)  # a process that waits for a dead disk cannot be ended
        return self._process.exitcode


def _work(connection: Connection) -> None:
    """The worker process: answer requests until the other end is closed."""
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send((_READY, None))
        while True:
            _answer(connection, connection.recv())


def _answer(connection: Connection, request: ClipRequest) -> None:
    try:
        frames = read_clip(request)
    except (WorkbenchError, OSError, MemoryError) as error:
        connection.send((_BAD, reason_of(error)))
    except Exception:
        connection.send((_BUG, traceback.format_exc()))
    else:
        connection.send((_READ, None))
        connection.send_bytes(frames.view(-1).numpy().data)
