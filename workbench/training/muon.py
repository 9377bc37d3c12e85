"""Muon: momentum whose update of every weight matrix is made orthogonal. In few steps it gets further than AdamW."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from workbench.models.checkpointing import Checkpointed

MOMENTUM = 0.95
_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d)
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


class Muon(AdamW):
    """Muon for the weights of the groups that say `orthogonal`, AdamW for the others.

    Nesterov momentum, orthogonalised by five Newton-Schulz steps (Jordan et al., "Muon: An optimizer for hidden layers
    in neural networks", 2024). The update has the root mean square that AdamW's usually has, 0.2 times the learning
    rate (Moonlight, arXiv 2502.16982), so that both share one. A convolution's weight is the matrix (out, in * taps),
    which `torch.optim.Muon` does not take. Weight decay is decoupled, as AdamW's.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure: gradients are there
        for group in self.param_groups:
            for weight in group["params"] if group["orthogonal"] else ():
                if weight.grad is not None:
                    self._step_matrix(weight, weight.grad, group["lr"], group["weight_decay"])
                    weight.grad = None  # nothing left for AdamW
        super().step()

    def _step_matrix(self, weight: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        momentum = self.state[weight]["momentum"]
        momentum.lerp_(gradient, 1.0 - MOMENTUM)
        update = orthogonalised(gradient.lerp(momentum, MOMENTUM).flatten(1))
        weight.mul_(1.0 - lr * weight_decay)
        weight.add_(update.view_as(weight), alpha=-0.2 * lr * max(update.shape) ** 0.5)


def muon_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The weights of the layers inside a model's residual blocks for Muon; all else that is trained for AdamW.

    Of a grouped convolution no matrix is the whole: its groups have nothing to do with each other.
    """
    blocks = [module for module in model.modules() if isinstance(module, Checkpointed)]
    layers = [layer for block in blocks for layer in block.modules() if isinstance(layer, _LAYERS)]
    hidden = {layer.weight for layer in layers if getattr(layer, "groups", 1) == 1}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    others = [weight for weight in trained if weight not in hidden]
    ordered = [weight for weight in trained if weight in hidden]
    return [{"params": ordered, "orthogonal": True}, {"params": others, "orthogonal": False}]


def initial_state(group: dict[str, Any], weight: Tensor) -> dict[str, Tensor]:
    """What the optimiser keeps of a weight of this group, of `Muon` or of AdamW alone, before its first step."""
    if group.get("orthogonal"):
        return {"momentum": torch.zeros_like(weight)}
    zeros = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.tensor(0.0), **zeros}


def orthogonalised(matrix: Tensor) -> Tensor:
    """About the nearest (semi-)orthogonal matrix to one (m, n): its singular values go to between 0.7 and 1.2."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
