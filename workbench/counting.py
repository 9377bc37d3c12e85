"""Operations and memory of a piece of work, counted while it runs; on fake tensors without running it."""

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_CONVOLUTIONS = torch.ops.aten.convolution, torch.ops.aten.mkldnn_convolution


class Counter(TorchDispatchMode):
    """Counts operations, and follows every storage from the operation that made it until nothing refers to it.

    What was there before, such as weights, is not counted, nor are views of it. Not for `torch.inference_mode`, where
    convolutions are not taken apart into what is counted.

    Args:
        reorders: convolutions copy their input to another layout while they work, as oneDNN does; the copies count for
            the peak.
    """

    def __init__(self, reorders: bool = False) -> None:
        super().__init__()
        self._reorders = reorders
        self.operations = self.bytes = self.peak_bytes = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._follow((args, kwargs), is_new=False)
        result = func(*args, **kwargs)
        self._follow(result, is_new=True)
        kind = func.overloadpacket
        if self._reorders and kind in _CONVOLUTIONS:
            self.peak_bytes = max(self.peak_bytes, self.bytes + args[0].nbytes)
        if kind == torch.ops.aten.convolution_backward:
            self.operations += _conv_backward_operations(*args)
        elif kind in flop_registry:
            self.operations += flop_registry[kind](*args, **kwargs, out_val=result)
        return result

    def _follow(self, values: Any, is_new: bool) -> None:
        for leaf in _tensors(values):
            if leaf.untyped_storage()._cdata not in self._alive:
                storage = leaf.untyped_storage()
                self._add(storage, storage.nbytes() if is_new else 0)
        self.peak_bytes = max(self.peak_bytes, self.bytes)

    def _add(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        self.bytes += size
        self._alive[key] = weakref.ref(storage, lambda _: self._forget(key, size))

    def _forget(self, key: int, size: int) -> None:
        self.bytes -= size
        del self._alive[key]


def _conv_backward_operations(gradient: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> int:
    """As many as in the forward pass, for the gradient of the input and of the weight where they are asked for.

    torch's own formula counts the weight gradient of a grouped convolution as if it were dense.
    """
    wanted = settings[-1]
    return 2 * gradient.numel() * weight[0].numel() * sum(wanted[:2])


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
