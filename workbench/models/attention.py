"""How much a model leans on its attention."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from workbench.models.dc_blocks import MultiScaleLinearAttention


def attends(model: nn.Module) -> bool:
    """Whether the model has linear attention that `attention_as_mean` can replace."""
    return any(isinstance(module, MultiScaleLinearAttention) for module in model.modules())


@contextmanager
def attention_as_mean(model: nn.Module) -> Iterator[None]:
    """Replace what every attention adds at each position by its mean over all positions, which says nothing of where.

    What a reconstruction loses by it is what the model owes to attention: where that is little, the ways to cut the
    attention's sums cannot be told apart. For models that run in one piece.
    """
    modules = [module for module in model.modules() if isinstance(module, MultiScaleLinearAttention)]
    handles = [module.register_forward_hook(_mean) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.mean((2, 3, 4), keepdim=True).expand_as(output).contiguous()
