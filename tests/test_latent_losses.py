"""Losses on latents against hand computations, and their part in a step."""

import numpy as np
import pytest
import torch
from reference_weights import formula_clip, relative_error
from small_models import small_model
from small_vision import small_dinov2
from training_runs import clips, networks, small_config

from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.training.config import AlignmentConfig, LatentLossConfig, TrainConfig
from workbench.training.latent_losses.alignment import Alignment
from workbench.training.latent_losses.equivariance import turned_and_smaller
from workbench.training.latent_losses.high_bands import smooth
from workbench.training.latent_losses.local_correlation import THRESHOLD, local_correlation_loss
from workbench.training.latent_losses.masked_reconstruction import masked
from workbench.training.latent_losses.noise import noisy
from workbench.training.latent_losses.scale_equivariance import smaller
from workbench.training.latent_losses.total import latent_losses
from workbench.training.losses import l1_loss
from workbench.training.step import step_gradients, train_step

NAMES = ("scale_equivariance", "equivariance", "masked_reconstruction", "noise", "high_band_dropout")


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and a clip of which they are the means of 8 x 8 pixels and 4 frames."""
    clip = torch.randn(2, 3, 8, 32, 64, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool3d(clip, (4, 8, 8)), clip


def is_the_mean(latents: torch.Tensor, clip: torch.Tensor) -> bool:
    return torch.allclose(torch.nn.functional.avg_pool3d(clip, (4, 8, 8)), latents, atol=1e-5)


def test_smaller_latents_stand_for_the_smaller_clip(pair):
    sizes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        changed = smaller(*pair)
        sizes.add(tuple(changed.latents.shape[3:]))
        assert is_the_mean(changed.latents, changed.clip)
    assert sizes == {(2, 4), (1, 2)}
    odd = pair[0][..., :3, :3], pair[1][..., :24, :24]
    assert smaller(*odd).latents is odd[0]


def test_turned_latents_stand_for_the_turned_clip(pair):
    shapes = set()
    for seed in range(12):
        torch.manual_seed(seed)
        changed = turned_and_smaller(*pair)
        shapes.add(tuple(changed.latents.shape[3:]))
        assert [side * 8 for side in changed.latents.shape[3:]] == list(changed.clip.shape[3:])
        assert changed.latents.flatten(3).mean() == pytest.approx(changed.clip.mean().item(), abs=0.05)
    assert any(h > w for h, w in shapes)
    assert any(h < w for h, w in shapes)
    torch.manual_seed(0)
    flat = turned_and_smaller(torch.full((1, 2, 1, 4, 4), 3.0), torch.full((1, 3, 1, 32, 32), 3.0))
    assert (flat.latents == 3).all()
    assert torch.allclose(flat.clip, torch.tensor(3.0))


def test_masks_leave_out_the_shares_that_they_say(pair):
    latents = torch.ones(1, 4, 10, 20, 20)
    torch.manual_seed(0)
    found = [1 - masked(latents, pair[1]).latents[0].mean((0, 1, 2, 3)).item() for _ in range(300)]
    shares = np.array(found).round(1)
    assert (shares == 0).mean() == pytest.approx(0.7, abs=0.08)
    assert {0.0, 0.2, 0.5, 0.8} == set(np.where(np.isclose(shares, 0.3), 0.2, np.where(shares == 0.7, 0.8, shares)))
    torch.manual_seed(1)
    one = next(m for m in (masked(latents, pair[1]).latents for _ in range(50)) if (m == 0).any())
    assert ((one == 0).all(1) | (one == 1).all(1)).all(), "a token goes as a whole"


def test_noise_is_drawn_for_every_clip(pair):
    torch.manual_seed(0)
    latents = torch.randn(500, 4, 1, 4, 4)
    deviations = (noisy(latents, pair[1]).latents - latents).flatten(1).std(1)
    assert deviations.square().mean().sqrt().item() == pytest.approx(0.8, rel=0.1)
    assert deviations.min() < 0.05


def test_smooth_latents_are_the_low_haar_band(pair):
    latents = pair[0]
    found = smooth(*pair).latents
    a, b, c, d = (latents[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    for i in (0, 1):
        for j in (0, 1):
            torch.testing.assert_close(found[..., i::2, j::2], (a + b + c + d) / 4)
    assert smooth(latents[..., :3, :1], pair[1]).latents.shape == latents[..., :3, :1].shape


@pytest.mark.parametrize("causal", [False, True])
def test_local_correlation_is_numpys(causal):
    latents = torch.randn(1, 16, 5 if causal else 4, 4, 2, generator=torch.Generator().manual_seed(0)).cumsum(1)
    values, found = latents[0].double().numpy(), []
    starts = [(0, 1), *((t, 2) for t in (1, 3))] if causal else [(t, 2) for t in (0, 2)]
    for (t, size), row in ((start, row) for start in starts for row in (0, 2)):
        tokens = values[:, t : t + size, row : row + 2, 0:2].reshape(16, -1)
        upper = np.corrcoef(tokens.T)[np.triu_indices(tokens.shape[1], 1)]
        found.append(upper.mean())
    assert local_correlation_loss(latents, causal).item() == pytest.approx(max(0, THRESHOLD - np.mean(found)), abs=1e-5)


def test_alike_neighbours_cost_nothing():
    same = torch.randn(1, 8, 1, 1, 1).expand(1, 8, 4, 4, 4)
    assert local_correlation_loss(same, False) == 0
    assert local_correlation_loss(torch.randn(1, 8, 1, 1, 1), False) == 0  # an image of one latent


@pytest.mark.parametrize("name", [*NAMES, "local_correlation"])
def test_a_step_adds_the_weighted_gradient(world, name):
    config = small_config(**{f"latent_loss_config__{name}": 0.3})
    nets, real = networks(config, world), torch.nn.functional.interpolate(clips(0), (8, 64, 64))
    torch.manual_seed(5)
    figures = step_gradients(nets, [real], 0, config)
    found = {key: parameter.grad.clone() for key, parameter in nets.autoencoder.named_parameters()}
    nets.optimizer.zero_grad()
    torch.manual_seed(5)
    output = nets.autoencoder(real)
    loss = latent_losses(nets.autoencoder, output.latents, real, config.latent_loss_config)[name]
    assert figures[name].item() == pytest.approx(loss.item(), rel=1e-4)
    (l1_loss(output.reconstruction, real) + 0.3 * loss).backward()
    for key, parameter in nets.autoencoder.named_parameters():
        torch.testing.assert_close(found[key], parameter.grad, rtol=1e-3, atol=1e-6, msg=key)


def test_images_and_clips_of_odd_length_take_all_of_them(world):
    config = small_config(**{f"latent_loss_config__{name}": 0.1 for name in (*NAMES, "local_correlation")})
    nets = networks(config, world)
    for frames in (1, 3):
        figures = train_step(nets, [clips(0)[:, :, :frames]], 0, config, world)
        assert {*NAMES, "local_correlation"} <= set(figures)


@pytest.mark.parametrize("name", [*NAMES, "local_correlation", "alignment"])
def test_bfloat16_keeps_the_gradient_of_float32(name):
    """Losses are taken in float32 whatever autocast does to the decoder; what is left is the decoder's own rounding,
    2^-9 of each product, over some ten layers of random signs: about 1 % of a gradient, and 3 % at most. A sign of
    L1 turns where a pixel is that near to its target, which costs as much again. Ten per cent is not reached by
    either, and by any loss that cancels in bfloat16.
    """
    ae = small_model("tiny")
    clip = formula_clip(1, 8, 128, 128, seed=0)
    latents = ae.encode(clip)
    found = {}
    for enabled in (False, True):
        torch.manual_seed(3)
        z = latents.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = _loss(name, ae, z, clip)
        (gradient,) = torch.autograd.grad(loss, z)
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert gradient.isfinite().all()
        found[enabled] = loss.item(), gradient
    assert found[True][0] == pytest.approx(found[False][0], rel=0.02)
    assert relative_error(found[True][1], found[False][1]) < 0.1


def _loss(name: str, ae: Autoencoder, z: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    if name == "alignment":
        torch.manual_seed(0)
        return Alignment(small_dinov2(), ae.latent_channels, AlignmentConfig())(ae, z, clip)["alignment"]
    return latent_losses(ae, z, clip, LatentLossConfig(**{name: 1.0}))[name]


def test_sharded_models_are_refused():
    with pytest.raises(ConfigError, match=r"latent_loss_config\.noise"):
        TrainConfig(parallel="fsdp", latent_loss_config=LatentLossConfig(noise=0.1))
