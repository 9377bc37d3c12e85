"""One step: what it changes and by which gradient. Ranks are in test_distributed.py, whole runs in test_trainer.py."""

import dataclasses

import pytest
import torch
from reference_weights import load_formula_weights
from small_models import ARCHITECTURES
from torch import nn
from training_runs import ARCHITECTURE, clips, networks, small_config, state_of

from workbench.config import override
from workbench.errors import ConfigError
from workbench.metrics.lpips import load_lpips
from workbench.training.config import TrainConfig
from workbench.training.losses import adaptive_weight, generator_loss, l1_loss, perceptual_loss
from workbench.training.networks import Networks
from workbench.training.schedules import perceptual_weight, rate_factor
from workbench.training.step import all_finite, step_gradients, train_step


def exact(nets: Networks) -> Networks:
    """The same networks in float64, so that no bound has to allow for the order in which a processor adds."""
    for network in filter(None, (nets.autoencoder, nets.discriminator)):
        network.double()
    return nets


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """In float32: the order of sums changes 1e-6 of a result, through tens of layers 1e-4 of a tensor's norm; of a
    tensor whose sums cancel, a small part of all gradients together."""
    whole = torch.nn.utils.get_total_norm(list(expected.values()))
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-5 * whole, name


def changed(before: dict, after: dict) -> set[str]:
    """First parts of the names whose tensors differ."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_the_generators_step_changes_only_the_autoencoder(world):
    config = small_config("disc", disc_loss_config__disc_start=10)
    nets = networks(config, world)
    before = state_of(nets)
    train_step(nets, [clips(0)], 0, config, world)
    assert changed(before, state_of(nets)) == {"model", "ema", "ae_optimizer"}


def test_the_discriminators_step_changes_only_the_discriminator(world):
    """Before gen_start the autoencoder gets the same update as in stage ae, although a discriminator is trained."""
    config = small_config("disc", gen_loss_config__gen_start=10)
    with_discriminator, alone = networks(config, world), networks(dataclasses.replace(config, stage="ae"), world)
    before = state_of(with_discriminator)
    train_step(with_discriminator, [clips(0)], 0, config, world)
    train_step(alone, [clips(0)], 0, dataclasses.replace(config, stage="ae"), world)
    after, expected = state_of(with_discriminator), state_of(alone)
    assert {"disc", "disc_optimizer"} <= changed(before, after)
    assert changed(expected, after) == set()


@pytest.fixture(scope="module")
def lpips_network() -> nn.Module:
    return load_lpips(random_backbone=True)


def test_gradients_equal_those_of_the_written_out_loss(world, lpips_network, monkeypatch):
    """L1 + 0.5 LPIPS + 0.05 w g in one graph, w by hand; the step goes piece by piece, LPIPS few frames at a time."""
    monkeypatch.setattr("workbench.training.step._PERCEPTUAL_PIXELS", 2 * 32 * 32)
    config = small_config("disc", disc_loss_config__disc_start=10, discriminator__norm="group")
    config = dataclasses.replace(
        config, vae_loss_config=dataclasses.replace(config.vae_loss_config, perceptual_loss_weight=0.5)
    )
    nets = networks(dataclasses.replace(config, vae_loss_config=small_config().vae_loss_config), world)
    nets.lpips = lpips_network
    figures = step_gradients(nets, [clips(0)], 0, config)
    found = gradients(nets.autoencoder)
    nets.optimizer.zero_grad()

    real, model = clips(0), nets.autoencoder
    fake = model(real).reconstruction
    nll = l1_loss(fake, real) + 0.5 * perceptual_loss(fake, real, lpips_network)
    g = generator_loss(nets.discriminator(fake))
    weight = adaptive_weight(
        torch.autograd.grad(nll, model.last_layer, retain_graph=True)[0],
        torch.autograd.grad(g, model.last_layer, retain_graph=True)[0],
    )
    (nll + 0.05 * weight * g).backward()
    assert figures["adaptive_weight"].item() == pytest.approx(weight.item(), rel=1e-4)
    assert 0.0 < weight.item() < 1e4
    assert figures["nll"].item() == pytest.approx(nll.item(), rel=1e-5)
    assert_same(found, gradients(model))


def test_gradient_checkpointing_changes_no_gradient(world):
    plain = small_config("disc", discriminator__norm="group")
    saving = small_config("disc", discriminator__norm="group", grad_checkpoint=True, model__disc_off_grad_ckpt=True)
    found = []
    for config in (plain, saving):
        nets = networks(config, world)
        step_gradients(nets, [clips(0)], 0, config)
        found.append(gradients(nets.autoencoder))
    for name, expected in found[0].items():
        assert torch.equal(found[1][name], expected), name


def test_accumulated_batches_are_one_large_batch(world):
    config = small_config("ae")
    whole, parts = exact(networks(config, world)), exact(networks(config, world))
    together = step_gradients(whole, [clips(0).double()], 0, config)
    apart = step_gradients(parts, list(clips(0).double().split(1)), 0, config)
    assert together["l1"].item() == pytest.approx(apart["l1"].item(), rel=1e-6)  # losses are float32
    expected = gradients(whole.autoencoder)
    for name, gradient in gradients(parts.autoencoder).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-9, msg=name)


def test_accumulated_batches_average_the_discriminators_gradient_too(world):
    config = small_config("disc", discriminator__norm="group")
    once, twice = networks(config, world), networks(config, world)
    for nets in (once, twice):
        for module in nets.discriminator.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    step_gradients(once, [clips(0)], 0, config)
    step_gradients(twice, [clips(0), clips(0)], 0, config)
    assert_same(gradients(twice.discriminator), gradients(once.discriminator))


def test_the_discriminators_gradients_are_clipped_to_the_norm(world):
    config = small_config("disc", grad_clip=1e-3)
    nets = networks(config, world)
    figures = train_step(nets, [clips(0)], 0, config, world)
    moments = nets.discriminator_optimizer.state
    first_moment = torch.cat([moments[p]["exp_avg"].flatten() for p in nets.discriminator.parameters()])
    assert figures["disc_grad_norm"] > 1e-3  # before clipping
    assert first_moment.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_the_average_follows_its_formula(world):
    config = small_config("ae", ema_decay=0.75)
    nets = networks(config, world)
    before = state_of(nets)
    train_step(nets, [clips(0)], 0, config, world)
    after = state_of(nets)
    for name in nets.ema.values:
        expected = 0.75 * before[f"model.{name}"] + 0.25 * after[f"model.{name}"]
        torch.testing.assert_close(after[f"ema.{name}"], expected, msg=name)


def test_gradients_are_clipped_to_the_norm(world):
    config = small_config("ae", grad_clip=1e-3)
    nets = networks(config, world)
    step_gradients(nets, [clips(0)], 0, config)
    size = torch.nn.utils.get_total_norm(list(gradients(nets.autoencoder).values()))
    nets.optimizer.zero_grad()
    figures = train_step(nets, [clips(0)], 0, config, world)
    first_moment = torch.cat([nets.optimizer.state[p]["exp_avg"].flatten() for p in nets.autoencoder.parameters()])
    assert figures["grad_norm"] == pytest.approx(size.item(), rel=1e-4)  # before clipping
    assert first_moment.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(world, value):
    config = small_config("disc")
    nets = networks(config, world)
    before = state_of(nets)
    x = clips(0)
    x[0, 0, 0, 0, 0] = value
    assert not all_finite(train_step(nets, [x], 0, config, world))
    assert changed(before, state_of(nets)) == set()
    assert all_finite(train_step(nets, [clips(0)], 1, config, world))


def test_bfloat16_keeps_weights_averages_and_optimiser_in_float32(world):
    config = small_config("disc", precision="bfloat16")
    nets = networks(config, world)
    with torch.backends.mkldnn.flags(enabled=False):  # its bfloat16 gradients are wrong on CPUs, so trainer refuses it
        figures = train_step(nets, [clips(0)], 0, config, world)
    assert all_finite(figures)
    assert {t.dtype for t in state_of(nets).values() if t.is_floating_point()} == {torch.float32}
    full = train_step(networks(small_config("disc"), world), [clips(0)], 0, small_config("disc"), world)
    assert figures["l1"] != full["l1"]
    assert figures["l1"] == pytest.approx(full["l1"], rel=0.1)  # 8 bits a value, and on some processors a sum


def test_variational_models_add_their_kl(world):
    architecture = {"widths": (32, 32, 64, 64), "layers_per_block": 1, "latent_channels": 4}
    settings = {"model.name": "hunyuan_vae", "model.architecture": architecture}
    losses = []
    for weight in (1e-3, 10.0):
        config = small_config("ae", vae_loss_config__kl_loss_weight=weight, **settings)
        nets = networks(config, world)
        x = clips(0)[:, :, :1]
        losses.append([train_step(nets, [x], step, config, world)["kl"] for step in range(4)])
    assert losses[0][0] == losses[1][0] > 0.0
    assert losses[1][-1] < losses[0][-1]


def test_warm_up_rises_to_the_full_rate():
    config = TrainConfig(warmup_steps=4)
    assert [rate_factor(step, config) for step in (0, 1, 3, 4, 100)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert rate_factor(0, TrainConfig()) == 1.0


def test_a_cosine_falls_from_the_full_rate_to_nothing():
    config = TrainConfig(warmup_steps=4, lr_schedule="cosine", max_steps=23)
    rates = [rate_factor(step, config) for step in range(23)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[13] == pytest.approx(0.5)  # half of the way from step 3, of rate 1, to step 23, of none
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0.0 < rates[-1] < 0.01


def test_a_cosine_wants_to_know_its_end():
    with pytest.raises(ConfigError, match=r"`lr_schedule` cosine falls to 0 at `max_steps`"):
        TrainConfig(lr_schedule="cosine")


def test_the_weight_of_lpips_rises_from_its_start():
    names = ("perceptual_loss_weight", "perceptual_start", "perceptual_ramp")
    config = small_config("ae", **{f"vae_loss_config__{n}": v for n, v in zip(names, (0.8, 2, 4), strict=True)})
    assert [perceptual_weight(step, config) for step in (0, 1, 2, 3, 5, 9)] == pytest.approx([0, 0, 0.2, 0.4, 0.8, 0.8])
    assert perceptual_weight(0, small_config("ae", vae_loss_config__perceptual_loss_weight=0.5)) == 0.5
    late = small_config("ae", vae_loss_config__perceptual_loss_weight=0.5, vae_loss_config__perceptual_start=3)
    assert [perceptual_weight(step, late) for step in (2, 3)] == [0.0, 0.5]


def test_lpips_counts_with_the_weight_of_its_step_and_costs_nothing_before(world, lpips_network):
    config = small_config("ae", vae_loss_config__perceptual_start=1, vae_loss_config__perceptual_ramp=2)
    nets = networks(config, world)
    config = override(config, {"vae_loss_config.perceptual_loss_weight": 0.5})
    nets.lpips = lpips_network
    early, later = (step_gradients(nets, [clips(0)], step, config) for step in (0, 1))
    assert "lpips" not in early
    assert early["nll"].equal(early["l1"])
    assert later["nll"].item() == pytest.approx((later["l1"] + 0.25 * later["lpips"]).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("video_dc_ae", ARCHITECTURE),
        ("tiny", ARCHITECTURES["tiny"]),
        ("hunyuan_vae", ARCHITECTURES["hunyuan_vae"]),
        ("dc_ae_v", ARCHITECTURES["dc_ae_v"]),
    ],
)
def test_a_frozen_encoder_keeps_every_bit_and_the_decoder_all_its_gradient(world, name, architecture):
    settings = {"model__name": name, "model__architecture": architecture, "model__freeze": "encoder"}
    frozen, free = (networks(small_config("ae", **(settings | more)), world) for more in ({}, {"model__freeze": None}))
    x = clips(0)[:, :, :1]
    for nets in (frozen, free):
        load_formula_weights(nets.autoencoder)  # fresh ones of tiny give the decoder no gradient
        step_gradients(nets, [x], 0, small_config("ae"))
    with_gradient = {name for name, gradient in gradients(frozen.autoencoder).items() if gradient is not None}
    for name, gradient in gradients(free.autoencoder).items():
        if name in with_gradient:
            torch.testing.assert_close(frozen.autoencoder.get_parameter(name).grad, gradient, msg=name)
    before, z = state_of(frozen), frozen.autoencoder.encode(x)
    config = small_config("ae", **settings)
    train_step(frozen, [x], 0, config, world)
    changes = {name for name, tensor in state_of(frozen).items() if not torch.equal(tensor, before[name])}
    assert {name.removeprefix("model.") for name in changes if name.startswith("model.")} == with_gradient
    assert torch.equal(frozen.autoencoder.encode(x), z)
    assert set(frozen.ema.values) == with_gradient


def test_muon_and_the_discriminator_go_on_beside_a_frozen_encoder(world):
    config = small_config("disc", model__freeze="encoder", optimizer="muon", discriminator__norm="group")
    nets = networks(config, world)
    before = state_of(nets)
    train_step(nets, [clips(0)], 0, config, world)
    changes = [name for name, tensor in state_of(nets).items() if not torch.equal(tensor, before[name])]
    assert {name.split(".")[0] for name in changes} == {"model", "ema", "ae_optimizer", "disc", "disc_optimizer"}
    assert not [name for name in changes if ".encoder." in name]


def test_freezing_an_encoder_of_first_random_weights_is_refused(world):
    with pytest.raises(ConfigError, match=r"`model.freeze` encoder keeps weights: name `model.from_pretrained`"):
        networks(small_config("ae", model__freeze="encoder", model__from_pretrained=None), world)


@pytest.mark.parametrize(
    "loss", ["latent_loss_config.alignment", "latent_loss_config.local_correlation", "vae_loss_config.kl_loss_weight"]
)
def test_losses_that_only_train_latents_are_refused_beside_a_frozen_encoder(loss):
    with pytest.raises(ConfigError, match=f"`{loss}` 0.5 trains latents, and the encoder is frozen"):
        override(small_config("ae", model__freeze="encoder"), {loss: 0.5})
