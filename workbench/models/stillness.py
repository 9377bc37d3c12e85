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


def moving_share(steady: Tensor, within: Tensor, still_below: float) -> Tensor:
    """How much of each place moves: 0 nothing, 0.5 where it changes by `still_below`, towards 1 for large changes.

    The squared change is that within a step and the larger of those to the step before and after, the mean over all
    dimensions but those of batch, steps and places. In float32, whose range its square fits.

    Args:
        steady: the steady part of t + 2 steps, (B, ..., t + 2, h, w).
        within: the mean square of their changing parts, (B, 1, ..., t + 2, h, w).
        still_below: above 0, in the unit of the steady part.

    Returns:
        float32 (B, 1, ..., t, h, w).
    """
    steps = steady.float().diff(dim=-3).square().mean(tuple(range(1, steady.ndim - 3)), keepdim=True)
    change = _inner(within.float()) + torch.maximum(steps[..., 1:, :, :], steps[..., :-1, :, :])
    return 1 - 1 / (1 + (change / still_below**2).square())


def settled(values: Tensor, steady: Tensor, share: Tensor, drift: Tensor | float = 0.0) -> Tensor:
    """The values as they are where all moves, and the steady part's mean over three steps where nothing does.

    Args:
        values, steady: (B, ..., t + 2, h, w), of which the first and the last step only give their steady part.
        share: of `moving_share`.
        drift: added to that mean, see `even_drift`.

    Returns:
        (B, ..., t, h, w).
    """
    mean = (steady[..., :-2, :, :] + _inner(steady) + steady[..., 2:, :, :]) / 3
    return torch.lerp(mean + drift, _inner(values), share.to(values))


def even_drift(steady: Tensor, count: int, noise: float) -> Tensor:
    """How frames differ from the mean of their step in a scene that slowly grows darker or lighter, without jumps.

    Args:
        steady: (B, C, 1, ..., t + 2, h, w).
        count: frames of a step.
        noise: changes from step to step that are no drift; of one as large, half counts.

    Returns:
        The line through the steps before and after, (B, C, count, ..., t, h, w).
    """
    slope = (steady[..., 2:, :, :] - steady[..., :-2, :, :]).float() / 2
    times = (torch.arange(count, device=slope.device) + 0.5) / count - 0.5
    times = times.view(-1, *[1] * (slope.ndim - 3))
    return (times * slope**3 / (slope**2 + noise**2)).to(steady)


def over_repeated_ends(settle: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of t + 2 steps that gives t, on a clip (B, C, t, h, w) that stands still before and after it."""
    return settle(torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2))


def _inner(x: Tensor) -> Tensor:
    return x[..., 1:-1, :, :]
