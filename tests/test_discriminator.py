"""The discriminator against the published one, and what its options promise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import formula_clip, load_formula_weights, relative_error
from torch import nn

from workbench.errors import ConfigError
from workbench.models.discriminator import PatchDiscriminator3D

REFERENCE = Path(__file__).parent / "reference"
NORM_TYPES = {"batch": nn.BatchNorm3d, "group": nn.GroupNorm}


def modules_of(model: nn.Module, kind: type) -> list:
    return [module for module in model.modules() if isinstance(module, kind)]


def test_logits_match_the_reference():
    model = PatchDiscriminator3D().eval()
    load_formula_weights(model)
    expected = torch.from_numpy(np.load(REFERENCE / "disc_video.npz")["logits"])
    with torch.inference_mode():
        logits = model(formula_clip(1, 8, 64, 64, 1))
    assert logits.shape == (1, 1, 2, 2, 2)
    assert relative_error(logits, expected) <= 2e-5


def test_names_shapes_and_parameter_count_are_the_published_ones():
    with torch.device("meta"):
        model = PatchDiscriminator3D()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == json.loads((REFERENCE / "discriminator.keys.json").read_text())
    assert sum(parameter.numel() for parameter in model.parameters()) == 18_823_553


def test_group_norm_has_the_same_parameters_but_no_running_statistics():
    with torch.device("meta"):
        batch, group = PatchDiscriminator3D("batch"), PatchDiscriminator3D("group")
    shapes = [{name: value.shape for name, value in model.named_parameters()} for model in (batch, group)]
    assert shapes[0] == shapes[1]
    assert not list(group.buffers())


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_constants_are_the_published_ones(norm):
    with torch.device("meta"):
        model = PatchDiscriminator3D(norm)
    assert [layer.eps for layer in modules_of(model, NORM_TYPES[norm])] == [1e-5] * 5
    assert [layer.negative_slope for layer in modules_of(model, nn.LeakyReLU)] == [0.2] * 6
    assert [layer.p for layer in modules_of(model, nn.Dropout)] == [0.3] * 5


@torch.inference_mode()
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_initial_weights_follow_the_recipe(norm):
    torch.manual_seed(0)
    model = PatchDiscriminator3D(norm)
    for conv in modules_of(model, nn.Conv3d):
        assert conv.weight.mean().abs() < 1e-3
        assert conv.weight.std() == pytest.approx(0.02, rel=0.1)
    norms = modules_of(model, NORM_TYPES[norm])
    scales = torch.cat([layer.weight for layer in norms])
    assert scales.mean() == pytest.approx(1.0, abs=0.005)
    assert scales.std() == pytest.approx(0.02, rel=0.1)
    assert all(layer.bias.eq(0).all() for layer in norms)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 64, 96), (5, 33, 30), (8, 64, 64)])
def test_any_clip_has_one_logit_for_every_latent(shape):
    logits = PatchDiscriminator3D(channels=16).eval()(torch.rand(2, 3, *shape))
    assert logits.shape == (2, 1, *(-(-size // stride) for size, stride in zip(shape, (4, 32, 32), strict=True)))


def test_group_norm_judges_every_clip_by_itself():
    torch.manual_seed(0)
    model = PatchDiscriminator3D("group", channels=16).train().double()
    for dropout in modules_of(model, nn.Dropout):
        dropout.p = 0.0
    clips = torch.rand(2, 3, 4, 64, 64).double()
    torch.testing.assert_close(model(clips)[:1], model(clips[:1]))


def test_a_single_image_of_one_patch_still_gives_gradients_with_group_norm():
    model = PatchDiscriminator3D("group", channels=16).train()
    model(torch.rand(1, 3, 1, 32, 32)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_unknown_norm_and_impossible_width_are_config_errors():
    with pytest.raises(ConfigError, match="did you mean group"):
        PatchDiscriminator3D("groups")
    with pytest.raises(ConfigError, match="multiple of 16"):
        PatchDiscriminator3D("group", channels=24)
