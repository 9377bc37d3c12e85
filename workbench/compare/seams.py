"""What tiling does to a picture: where tiled and untiled results differ, and whether the tiles' borders show."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import ShapeError
from workbench.tiling import AxisPlan, TilePlan


@dataclass(frozen=True)
class Jump:
    """Mean absolute change of the difference from one sample of an axis to the next, in grey levels of 255.

    Attributes:
        at_borders: across the places where a tile begins or ends; NaN where the axis is not cut.
        elsewhere: across all other places; NaN where there are none.
    """

    at_borders: float
    elsewhere: float

    @property
    def ratio(self) -> float:
        """How many times larger the jump at borders is: about 1 where no seam shows."""
        return self.at_borders / self.elsewhere if self.elsewhere else math.inf if self.at_borders else math.nan


@dataclass(frozen=True)
class Seams:
    """The traces of tiles.

    Attributes:
        map_HW: |tiled - untiled|, averaged over colours and frames, in grey levels of 255.
        jumps: by axis of the clip: time, height, width.
    """

    map_HW: Tensor
    jumps: dict[str, Jump]


def find_seams(tiled: Tensor, untiled: Tensor, plan: TilePlan, data_range: float) -> Seams:
    """Compare a clip that was decoded tile by tile with the same clip in one piece.

    Jumps are taken of the difference of the two, not of the picture: edges of the content and the model's own errors,
    which both have, cancel out.

    Args:
        tiled, untiled: clips (T, 3, H, W) in the same range; floats show seams that rounding to 8 bits would hide.
        plan: the tiles that decoded `tiled`.
        data_range: 255 for clips in [0, 255], 2 in [-1, 1].

    Raises:
        ShapeError: the clips differ in shape, or are not what the plan gives.
    """
    planned = plan.time.out_length, 3, plan.height.out_length, plan.width.out_length
    if not tuple(tiled.shape) == tuple(untiled.shape) == planned:
        raise ShapeError(f"seams of a plan for {planned}: got {tuple(tiled.shape)} and {tuple(untiled.shape)}")
    difference = (tiled.float() - untiled.float()).mul_(255.0 / data_range)
    axes = {"time": (plan.time, 0), "height": (plan.height, 2), "width": (plan.width, 3)}
    jumps = {name: _jump(difference, axis, dim) for name, (axis, dim) in axes.items()}
    return Seams(difference.abs_().mean((0, 1)), jumps)


def borders(axis: AxisPlan) -> list[int]:
    """The samples of an axis at which a tile begins, or that follow the last one of a tile; not the axis's ends."""
    edges = {edge for span in axis.spans for edge in (span.out_start, span.out_stop)}
    return sorted(edges - {0, axis.out_length})


def _jump(difference: Tensor, axis: AxisPlan, dim: int) -> Jump:
    """Means over the positions between neighbours along one dimension."""
    other = [d for d in range(4) if d != dim]
    steps = difference.diff(dim=dim).abs().mean(other)
    is_border = torch.zeros(len(steps), dtype=torch.bool, device=steps.device)
    is_border[[edge - 1 for edge in borders(axis)]] = True
    return Jump(steps[is_border].mean().item(), steps[~is_border].mean().item())
