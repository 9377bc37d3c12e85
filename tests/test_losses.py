import math

import pytest
import torch
from torch import nn

from workbench.metrics.lpips import load_lpips
from workbench.training.losses import (
    adaptive_weight,
    discriminator_accuracy,
    generator_loss,
    hinge_discriminator_loss,
    l1_loss,
    l2_loss,
    perceptual_loss,
    psnr_of,
    rmse_loss,
    vanilla_discriminator_loss,
)

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])


def test_l1_does_not_depend_on_the_size():
    small, large = torch.full((1, 3, 1, 4, 4), 0.25), torch.full((2, 3, 8, 32, 32), 0.25)
    assert l1_loss(small, -small) == l1_loss(large, -large) == 0.5


def test_squared_error_and_its_root_by_hand():
    x = torch.zeros(2, 3, 1, 4, 4)
    y = x.clone()
    y[0], y[1] = 0.2, 0.02
    assert l2_loss(x, y).item() == pytest.approx((0.04 + 0.0004) / 2)
    assert rmse_loss(x, y).item() == pytest.approx((0.2 + 0.02) / 2)  # each clip by itself


def test_the_root_has_a_gradient_where_nothing_is_wrong():
    y = torch.zeros(1, 3, 1, 4, 4, requires_grad=True)
    rmse_loss(torch.zeros_like(y), y).backward()
    assert y.grad.isfinite().all()


def test_hinge_loss_by_hand():
    # real: relu(1 - d) = 0, 0.5, 2; fake: relu(1 + d) = 0, 1, 2
    assert hinge_discriminator_loss(REAL, FAKE).item() == pytest.approx(0.5 * (2.5 / 3 + 3.0 / 3))


def test_vanilla_loss_by_hand():
    real = sum(math.log1p(math.exp(-d)) for d in REAL.tolist()) / 3
    fake = sum(math.log1p(math.exp(d)) for d in FAKE.tolist()) / 3
    assert vanilla_discriminator_loss(REAL, FAKE).item() == pytest.approx(0.5 * (real + fake))


def test_the_generator_wants_high_logits_for_its_output():
    logits = FAKE.clone().requires_grad_()
    generator_loss(logits).backward()
    assert torch.allclose(logits.grad, torch.full((3,), -1 / 3))


def test_discriminator_accuracy_counts_both_sides():
    assert [value.item() for value in discriminator_accuracy(REAL, FAKE)] == pytest.approx([2 / 3, 1 / 3])


def test_adaptive_weight_by_hand():
    assert adaptive_weight(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])).item() == pytest.approx(5 / 2.0001)


@pytest.mark.parametrize(
    ("reconstruction", "generator", "expected"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1e4), (0.0, 0.0, 0.0), (5.0, 1e-9, 1e4)]
)
def test_adaptive_weight_stays_finite_where_a_gradient_vanishes(reconstruction, generator, expected):
    weight = adaptive_weight(torch.tensor([reconstruction], requires_grad=True), torch.tensor([generator]))
    assert weight.item() == pytest.approx(expected, rel=1e-3)
    assert not weight.requires_grad


def test_psnr_of_known_error():
    x = torch.zeros(1, 3, 2, 8, 8)
    assert psnr_of(x, x + 0.2).item() == pytest.approx(20 * math.log10(2 / 0.2), abs=1e-4)


@pytest.fixture(scope="module")
def lpips_network() -> nn.Module:
    return load_lpips(random_backbone=True)


def test_lpips_gives_the_reconstruction_a_gradient(lpips_network):
    x, y = torch.rand(1, 3, 2, 32, 32, requires_grad=True), torch.rand(1, 3, 2, 32, 32)
    perceptual_loss(x, y, lpips_network).backward()
    assert x.grad.abs().sum(dim=(1, 3, 4)).min() > 0.0  # of every frame


def test_lpips_is_the_mean_over_frames_in_float32(lpips_network):
    x, y = torch.rand(2, 2, 3, 2, 32, 32).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        loss = perceptual_loss(x, y, lpips_network)
    frames = [lpips_network(x[b, :, t][None], y[b, :, t][None]).item() for b in range(2) for t in range(2)]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(frames) / 4, rel=1e-4)
