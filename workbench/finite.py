"""Numbers that are not finite are never passed on: clamped to 8 bits, they would look like a black picture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.errors import NonFiniteError

_REMEDIES = {
    torch.float16: "use `dtype` float32 or bfloat16, whose range is larger",
    torch.bfloat16: "use `dtype` float32; if that does not help, the weights do not fit",
    torch.float32: "the weights may be damaged, or not those of this model",
}


def is_finite(x: Tensor) -> bool:
    """Whether no value of a tensor of any type is NaN or infinite; in one pass without a copy."""
    if not x.is_floating_point() or x.numel() == 0:
        return True
    return bool(torch.stack(torch.aminmax(x)).isfinite().all())


def refuse_nonfinite(result: Tensor, given: Tensor, model: str, dtype: torch.dtype, what: str) -> Tensor:
    """The result itself, looked at once, which is called `what` in the message.

    Args:
        given: the tile or push (B, C, T, H, W) that it is of.

    Raises:
        NonFiniteError: a value is not finite; names the model, its type, the tile and a remedy.
    """
    if not is_finite(result):
        kind, size = str(dtype).removeprefix("torch."), "x".join(map(str, given.shape[2:]))
        remedy = _REMEDIES.get(dtype, _REMEDIES[torch.float32])
        raise NonFiniteError(
            f"{model} in {kind} gives {what} that are not finite (NaN or Inf) on a tile of {size}; {remedy}"
        )
    return result


def nonfinite_names(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold a NaN or an infinity."""
    return [name for name, tensor in state.items() if not is_finite(tensor)]
