"""The optimiser Muon: orthogonal updates for the hidden layers, AdamW for the rest, in real training steps."""

import pytest
import torch
from small_models import small_model
from torch.optim import AdamW
from torch.optim import Muon as TorchMuon

import workbench as wb
from workbench.training.config import TrainConfig
from workbench.training.muon import Muon, muon_groups, orthogonalised
from workbench.training.state import initialise


@pytest.mark.parametrize("shape", [(8, 8), (4, 20), (20, 4)])
def test_an_update_has_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_of_plain_matrices_it_makes_the_steps_of_torchs_own():
    torch.manual_seed(0)
    start, gradients = torch.randn(12, 30), torch.randn(5, 12, 30)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    own = initialise(Muon([{"params": [weights[0]], "orthogonal": True}], lr=0.01, weight_decay=0.1))
    reference = TorchMuon(
        [weights[1]], lr=0.01, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for step, gradient in enumerate(gradients, 1):
        for weight, optimizer in zip(weights, (own, reference), strict=True):
            optimizer.param_groups[0]["lr"] = 0.01 * step  # as a warm-up sets it
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (weights[1] - start).norm()
    assert (weights[0] - weights[1]).norm() < 0.02 * moved  # torch orthogonalises in bfloat16


def test_biases_norms_and_the_outermost_layers_take_adamws_steps():
    model = small_model("tiny").requires_grad_(True)
    groups = muon_groups(model)
    hidden = {id(weight) for weight in groups[0]["params"]}
    names = {name for name, weight in model.named_parameters() if id(weight) in hidden}
    assert {name.split(".")[-3] + "." + name.split(".")[-2] for name in names if "linear" in name} == {"conv2.linear"}
    assert "decoder.levels.0.0.conv1.weight" in names
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert not any(name.startswith(("to_", "encoder.project_in", "encoder.norm")) for name in names)

    muon = initialise(Muon(groups, lr=0.01))
    copy = small_model("tiny").requires_grad_(True)
    adamw = AdamW(copy.parameters(), lr=0.01)
    for network, optimizer in ((model, muon), (copy, adamw)):
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    same = {
        name
        for (name, weight), other in zip(model.named_parameters(), copy.parameters(), strict=True)
        if torch.equal(weight, other)
    }
    assert same == {name for name, _ in model.named_parameters()} - names


def test_it_is_refused_where_weights_are_sharded():
    with pytest.raises(wb.ConfigError, match=r"`optimizer` muon.*ddp"):
        TrainConfig(optimizer="muon", parallel="fsdp")


def test_grouped_convolutions_are_no_matrices():
    model = small_model("video_dc_ae").requires_grad_()
    hidden = {id(weight) for weight in muon_groups(model)[0]["params"]}
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv3d)]
    assert not [layer for layer in layers if layer.groups > 1 and id(layer.weight) in hidden]
    assert [layer for layer in layers if layer.groups == 1 and id(layer.weight) in hidden]
