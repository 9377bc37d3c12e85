"""Where nothing moves, what a network adds may not move either.

Networks trained on motion give still scenes a faint motion of their own and enlarge the noise of their input. Where a
picture changes by less than a given amount, changes in time are taken back, as temporal noise filters do for coders:
the less a place changes, the more it is averaged over time (Dubois and Sabri, "Noise Reduction in Image Sequences Using
Motion-Compensated Temporal Filtering", IEEE Transactions on Communications, 1984; here without the compensation).

Tensors are (B, ..., t, h, w): steps of the latents in time, and places. What is the same in all frames of a step is its
steady part, the rest its changing part.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Parts = tuple[Tensor, Tensor]
"""The steady and the changing part of as many steps."""


def moving_share(parts: Parts, still_below: float) -> Tensor:
    """How much of each place moves: 0 nothing, 0.5 where it changes by `still_below`, towards 1 for large changes.

    The squared change is that within a step and the larger of those to the step before and after, each the mean over
    all dimensions but those of batch, steps and places.

    Args:
        parts: of t + 2 steps.
        still_below: above 0.

    Returns:
        (B, 1, ..., t, h, w).
    """
    steady, changing = parts
    values = tuple(range(1, steady.ndim - 3))
    steps = steady.diff(dim=-3).square().mean(values, keepdim=True)
    within = changing[..., 1:-1, :, :].square().mean(values, keepdim=True)
    change = (within + torch.maximum(steps[..., 1:, :, :], steps[..., :-1, :, :])).square()
    return change / (change + still_below**4)


def settled(parts: Parts, share: Tensor) -> Tensor:
    """Both parts together as they are where all moves, and their mean over three steps where nothing does.

    Args:
        parts: of t + 2 steps.
        share: of `moving_share`, for t steps.

    Returns:
        (B, ..., t, h, w).
    """
    steady, changing = parts
    before, now, after = steady[..., :-2, :, :], steady[..., 1:-1, :, :], steady[..., 2:, :, :]
    return torch.lerp((before + now + after) / 3, now + changing[..., 1:-1, :, :], share)


def over_repeated_ends(settle: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of t + 2 steps that gives t, on a clip (B, C, t, h, w) that stands still before and after it."""
    return settle(torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2))
