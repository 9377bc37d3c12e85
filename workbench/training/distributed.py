"""Training on several ranks (see `workbench.ranks`): replication and sharding by torch itself."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from workbench.models.checkpointing import Checkpointed
from workbench.ranks import World


def replicate(module: nn.Module, world: World) -> nn.Module:
    """DistributedDataParallel around a module; the module itself where there is one rank."""
    if world.size == 1:
        return module
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices)


def shard(model: nn.Module, world: World) -> nn.Module:
    """FSDP2: each block's weights, gradients and optimiser state split over the ranks. Changes the model in place.

    The block of the last layer stays with the rest of the model, which is whole between forward and backward pass:
    the adaptive weight needs that layer's gradient there.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    last = model.last_layer
    for module in model.modules():
        if isinstance(module, Checkpointed) and not any(p is last for p in module.parameters()):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@contextmanager
def gradient_sync(module: nn.Module, enabled: bool) -> Iterator[None]:
    """Leave gradients unreduced inside where not `enabled`: for all but the last batch of an accumulated step."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(enabled)
    with module.no_sync() if isinstance(module, DistributedDataParallel) and not enabled else nullcontext():
        yield


def full(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor (every rank must ask), or the tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def copy_full_(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if isinstance(target, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(source)


class SynchronisedBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm3d with the statistics of the batches of all ranks together; in float32.

    torch.nn.SyncBatchNorm computes the same but runs on GPUs only. All ranks must have the same number of values.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) normalised: by the statistics of all ranks in training, else by the running ones."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            mean = _global_mean(values)
            centred = values - mean[:, None, None, None]
            variance = _global_mean(centred.square())
            if self.track_running_stats:
                self._update(mean.detach(), variance.detach(), x.numel() // x.shape[1] * dist.get_world_size())
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (centred * scale[:, None, None, None] + self.bias[:, None, None, None]).to(x.dtype)

    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)


def _global_mean(values: Tensor) -> Tensor:
    """Mean per channel over the batches of all ranks, differentiable; values (B, C, T, H, W) to (C,)."""
    return differentiable.all_reduce(values.mean((0, 2, 3, 4))) / dist.get_world_size()


def synchronise_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm3d inside by one with the statistics of all ranks. Names and values stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm3d):
            synchronised = SynchronisedBatchNorm3d(child.num_features, child.eps, child.momentum)
            synchronised.load_state_dict(child.state_dict())
            setattr(module, name, synchronised)
        else:
            synchronise_batch_norm(child)
