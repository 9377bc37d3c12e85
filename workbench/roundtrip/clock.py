"""Where the seconds of a round trip go."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor
from torch.cuda import synchronize

from workbench.models.coding import Timer

T = TypeVar("T")


class Clock:
    """Seconds of encoding and of decoding: inside the model, and all that belongs to them.

    Decoding pulls latents from encoding, which pulls frames from reading: time is charged to the innermost alone.
    """

    def __init__(self) -> None:
        self._model = {"encode": 0.0, "decode": 0.0}
        self._own = {"encode": 0.0, "decode": 0.0, "read": 0.0}
        self._inside: list[str] = []
        self._mark = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """`encode_model_s`, `encode_total_s`, `decode_model_s` and `decode_total_s`."""
        return {
            f"{part}_{kind}_s": spent[part]
            for part in ("encode", "decode")
            for kind, spent in (("model", self._model), ("total", self._own))
        }

    def timer(self, part: str) -> Timer:
        """Runs work of the model and notes its seconds; waits for the GPU, which runs ahead."""

        def run(work: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            result = work()
            if isinstance(result, Tensor) and result.is_cuda:
                synchronize(result.device)
            self._model[part] += time.perf_counter() - begin
            return result

        return run

    def watch(self, part: str, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time that they take, less that of watched ones that they pull, is charged to `part`."""
        while True:
            with self._charged(part):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def _charged(self, part: str) -> Iterator[None]:
        self._charge()
        self._inside.append(part)
        try:
            yield
        finally:
            self._charge()
            self._inside.pop()

    def _charge(self) -> None:
        """Charge the time since the last mark to the innermost part."""
        now = time.perf_counter()
        if self._inside:
            self._own[self._inside[-1]] += now - self._mark
        self._mark = now
