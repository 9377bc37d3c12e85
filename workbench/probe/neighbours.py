"""How alike neighbouring tokens of a frame are against distant ones, and whether clips lie beside others of their kind.

Cost: cosines between shifted grids; seconds.
"""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR, FAR, SLOPE = 1, 6, range(1, 9)


Profile = dict[int, tuple[float, int]]
"""By Manhattan distance: the mean cosine of so many pairs of tokens."""


def cosine_profile(latents: Sequence[Tensor]) -> Profile:
    """Cosines between tokens of one frame, as far as grids reach.

    Args:
        latents: (C, t, h, w) each, standardised.
    """
    total: dict[int, float] = {}
    count: dict[int, int] = {}
    for clip in latents:
        unit = F.normalize(clip.double(), dim=0)
        height, width = clip.shape[2:]
        for down, right in product(range(height), range(1 - width, width)):
            if down == 0 and right <= 0:
                continue  # each pair once
            distance = down + abs(right)
            products = (
                (unit[:, :, down:, max(right, 0) : width + min(right, 0)])
                * (unit[:, :, : height - down, max(-right, 0) : width - max(right, 0)])
            )
            total[distance] = total.get(distance, 0.0) + products.sum().item()
            count[distance] = count.get(distance, 0) + products[0].numel()
    return {distance: (total[distance] / count[distance], count[distance]) for distance in sorted(total)}


def local_against_distant(profile: Profile) -> float:
    """LDS: the mean cosine of direct neighbours less that of pairs at distances of 6 and more; NaN on grids too small.

    iREPA (arXiv 2512.10794), without masks.
    """
    far = [pair for distance, pair in profile.items() if distance >= FAR]
    if not far or NEAR not in profile:
        return float("nan")
    return profile[NEAR][0] - sum(cosine * pairs for cosine, pairs in far) / sum(pairs for _, pairs in far)


def cosine_slope(profile: Profile) -> float:
    """CDS: how much the mean cosine falls per step over distances of 1 to 8, by least squares."""
    known = [(distance, profile[distance][0]) for distance in SLOPE if distance in profile]
    if len(known) < 3:
        return float("nan")
    x, y = (torch.tensor(values, dtype=torch.float64) for values in zip(*known, strict=True))
    return (-((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()).item()


def same_label_share(latents: Sequence[Tensor], labels: Sequence[str], k: int) -> float:
    """LNC@k: of the k clips nearest to each clip, by the cosine of their centred means, the share with its label.

    "Diffusing in the Right Space" (arXiv 2606.03578): |r| of 0.794 with generation quality. NaN with fewer than k + 1
    clips.
    """
    if len(latents) <= k:
        return float("nan")
    means = torch.stack([clip.double().flatten(1).mean(1) for clip in latents])
    unit = F.normalize(means - means.mean(0), dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    nearest = cosines.topk(k).indices
    same = [[labels[other] == labels[own] for other in row] for own, row in enumerate(nearest.tolist())]
    return torch.tensor(same).double().mean().item()
