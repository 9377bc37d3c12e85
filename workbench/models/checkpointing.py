"""Gradient checkpointing: blocks that keep only their input and compute the rest again in the backward pass.

Sublinear memory, Chen et al., arXiv 1604.06174; here the non-reentrant form of `torch.utils.checkpoint`.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_checkpointed(function: Callable[[Tensor], Tensor], x: Tensor, enabled: bool) -> Tensor:
    """`function(x)`; if `enabled`, and gradients are being recorded, keeping only x for the backward pass.

    The function must draw no random numbers: the generator's state is not kept.
    """
    if enabled and torch.is_grad_enabled():
        return checkpoint(function, x, use_reentrant=False, preserve_rng_state=False)
    return function(x)


class Checkpointed(nn.Module):
    """A block of a network that can be checkpointed. Do not nest: each level would compute again.

    The optimiser Muon takes what such blocks hold for the hidden layers of a model.
    """

    checkpointing: bool = False


class CheckpointedBlock(Checkpointed):
    """The usual one, of one input: `_block(x)` is checkpointed."""

    def forward(self, x: Tensor) -> Tensor:
        return run_checkpointed(self._block, x, self.checkpointing)

    @abstractmethod
    def _block(self, x: Tensor) -> Tensor:
        """What the block computes."""


def set_checkpointing(model: nn.Module, enabled: bool) -> None:
    """Switch every block inside `model`."""
    for module in model.modules():
        if isinstance(module, Checkpointed):
            module.checkpointing = enabled
