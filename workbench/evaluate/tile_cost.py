"""What a tile costs a model: operations and memory, counted on tensors that have shapes but no values."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from workbench.counting import Counter
from workbench.models.base import Autoencoder
from workbench.models.registry import architecture_of, build_autoencoder


@dataclass(frozen=True)
class TileCost:
    """Counted for one tile in float32; other types need memory in proportion.

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
    with FakeTensorMode(), torch.no_grad():
        twin = build_autoencoder(ae.name, architecture_of(ae)).eval()
        weights = sum(tensor.numel() * tensor.itemsize for tensor in (*twin.parameters(), *twin.buffers()))
        x, z = torch.empty(1, 3, frames, height, width), torch.empty(1, *ae.latent_shape(frames, height, width))
        counters = _count(lambda: twin.encode(x)), _count(lambda: twin.decode(z, frames, (height, width)))
    operations = sum(counter.operations for counter in counters)
    return TileCost(operations / 1e12, weights, max(counter.peak_bytes for counter in counters))


def _count(run: Callable[[], Tensor]) -> Counter:
    with Counter() as counter:
        run()
    return counter
