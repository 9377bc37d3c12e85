"""Any function over any tiles, for cells that look at what a plan does, and what a tile costs a model."""

from dataclasses import dataclass

from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.models.cost import coding_cost
from workbench.models.tiled import collect, count_pieces, stream_tiles
from workbench.stages import Apply
from workbench.steps import Steps
from workbench.tile_settings import ONE_PIECE
from workbench.tiling import TilePlan


def run_tiles(plan: TilePlan, x: Tensor, apply: Apply, stage: str) -> Steps[Tensor]:
    """Apply a function to every tile of x (B, C, T, H, W) and blend the results, on the device of x."""
    done = count_pieces(stage, len(plan))
    return (yield from collect(stream_tiles(plan, iter([x]), apply, done, x.device), plan.time.out_length, x.device))


@dataclass(frozen=True)
class TileCost:
    """Counted for one tile in the type of the model.

    Attributes:
        tflop: operations to encode and decode it, in 1e12, 2 for a multiply-add.
        weight_bytes: of the model's parameters and buffers.
        work_bytes: the largest sum of all other tensors at any moment, input and output included; without the
            allocator's losses and the workspaces of convolutions.
    """

    tflop: float
    weight_bytes: int
    work_bytes: int


def tile_cost(ae: Autoencoder, frames: int, height: int, width: int) -> TileCost:
    """What encoding and decoding one tile of this size costs; all tiles of a plan have one size.

    Counted on a twin of the model without values: the model itself may be on the meta device.
    """
    cost = coding_cost(ae, (frames, height, width), ONE_PIECE)
    work_bytes = max(stage.work_bytes for stage in cost.stages)
    return TileCost(cost.operations / 1e12, cost.weight_bytes, round(work_bytes))
