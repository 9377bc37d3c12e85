"""Numbers that are not finite are never passed on: clamped to 8 bits, they would look like a black picture."""

from collections.abc import Callable, Mapping

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


def refuse_nonfinite(
    apply: Callable[[Tensor], Tensor], model: str, dtype: torch.dtype, what: str
) -> Callable[[Tensor], Tensor]:
    """The same function of one tile, with an error where its result, called `what` in the message, is not finite.

    Raises, when called:
        NonFiniteError: names the model, its type, the tile and a remedy.
    """

    def checked(tile: Tensor) -> Tensor:
        """The function's result, looked at once."""
        result = apply(tile)
        if not is_finite(result):
            kind, size = str(dtype).removeprefix("torch."), "x".join(map(str, tile.shape[2:]))
            remedy = _REMEDIES.get(dtype, _REMEDIES[torch.float32])
            raise NonFiniteError(
                f"{model} in {kind} gives {what} that are not finite (NaN or Inf) on a tile of {size}; {remedy}"
            )
        return result

    return checked


def nonfinite_names(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold a NaN or an infinity."""
    return [name for name, tensor in state.items() if not is_finite(tensor)]
