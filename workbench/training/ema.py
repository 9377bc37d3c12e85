"""Exponential moving average of weights, in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


class EMA:
    """ema = decay * ema + (1 - decay) * weight after every step, for each trained parameter by name; shards stay so."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {n: p.detach().float().clone() for n, p in trained(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of one more step."""
        for name, parameter in trained(model):
            self.values[name].lerp_(parameter.detach().float(), 1.0 - self.decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put the averaged weights into the model, and its own back afterwards."""
        _reshard(model)
        own = {name: parameter.detach().clone() for name, parameter in trained(model)}
        self._copy(self.values, model)
        try:
            yield
        finally:
            _reshard(model)
            self._copy(own, model)

    @staticmethod
    @torch.no_grad()
    def _copy(values: dict[str, Tensor], model: nn.Module) -> None:
        for name, parameter in trained(model):
            parameter.copy_(values[name])


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _reshard(model: nn.Module) -> None:
    """Give FSDP2's modules their shards back: a forward pass without a backward pass leaves some parameters whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
