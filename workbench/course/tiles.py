"""Any function over any tiles, for cells that look at what a plan does."""

from torch import Tensor

from workbench.models.tiled import collect, count_pieces, stream_tiles
from workbench.stages import Apply
from workbench.steps import Steps
from workbench.tiling import TilePlan


def run_tiles(plan: TilePlan, x: Tensor, apply: Apply, stage: str) -> Steps[Tensor]:
    """Apply a function to every tile of x (B, C, T, H, W) and blend the results, on the device of x."""
    done = count_pieces(stage, len(plan))
    return (yield from collect(stream_tiles(plan, iter([x]), apply, done, x.device), plan.time.out_length, x.device))
