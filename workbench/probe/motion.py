"""How much of the latents of a frame those of the frame before tell.

Cost: one pass over the latents; seconds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def predicted_by_previous(latents: Sequence[Tensor]) -> float:
    """Share of the energy of latents that a multiple of the previous frame's latents explains, one factor a channel.

    1 where nothing moves, about 0 for white noise; NaN where no clip has two frames of latents.

    Args:
        latents: (C, t, h, w) each, standardised.
    """
    pairs = [(clip[:, :-1].double().flatten(1), clip[:, 1:].double().flatten(1)) for clip in latents]
    before, after = (torch.cat(parts, dim=1) for parts in zip(*pairs, strict=True))
    if not before.numel():
        return float("nan")
    factors = (before * after).sum(1) / before.square().sum(1).clamp_min(1e-300)
    left = (after - factors[:, None] * before).square().sum()
    return (1 - left / after.square().sum()).item()
