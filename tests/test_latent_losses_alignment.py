"""The alignment of latents with a vision network: its terms by hand, its weight, and its part in training."""

import numpy as np
import pytest
import torch
from small_vision import write_dinov2
from training_runs import clips, networks, small_config

from workbench.config import override
from workbench.counting import Counter
from workbench.errors import ConfigError, WeightsError
from workbench.training.build import build_networks
from workbench.training.estimate import estimate
from workbench.training.latent_losses.alignment import cosine_term, distance_term, places
from workbench.training.losses import adaptive_weight, l1_loss
from workbench.training.presets import preset_config
from workbench.training.state import load_state, save_state
from workbench.training.step import step_gradients, train_step
from workbench.vision.base import latent_features
from workbench.vision.load import load_vision


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(write_dinov2(tmp_path_factory.mktemp("vision") / "model.safetensors"))


def real_clips() -> torch.Tensor:
    """Clips (2, 3, 8, 16, 16): 2 x 2 x 2 latents."""
    return torch.nn.functional.interpolate(clips(0), (8, 16, 16))


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_both_terms_are_numpys(margin):
    random = np.random.default_rng(0)
    z, f = random.standard_normal((2, 5, 4)), random.standard_normal((2, 5, 7))
    wz = random.standard_normal((2, 5, 7))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    pairs = [(n, i, j) for n in range(2) for i in range(5) for j in range(5)]
    distances = [max(0, abs(cosine(z[n, i], z[n, j]) - cosine(f[n, i], f[n, j])) - margin) for n, i, j in pairs]
    found = distance_term(torch.from_numpy(z), torch.from_numpy(f), margin)
    assert found.item() == pytest.approx(np.mean(distances), abs=1e-12)
    apart = [max(0, 1 - margin - cosine(wz[n, i], f[n, i])) for n in range(2) for i in range(5)]
    found = cosine_term(torch.from_numpy(wz), torch.from_numpy(f), margin)
    assert found.item() == pytest.approx(np.mean(apart), abs=1e-12)


def test_what_is_alike_costs_nothing_and_places_are_those_of_one_frame():
    f = torch.randn(2, 6, 3, 2, 4)
    assert distance_term(places(f), 3 * places(f), 0.0) < 1e-6
    assert cosine_term(places(f), 2 * places(f), 0.0) < 1e-6
    torch.testing.assert_close(places(f)[4, 5], f[1, :, 1, 1, 1])  # clip 1, frame 1, row 1, column 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_adds_the_gradient_times_the_adaptive_weight(world, weights, checkpointing):
    config = small_config(
        latent_loss_config__alignment=0.5,
        alignment_config__network=weights,
        alignment_config__cosine_margin=0.1,
        grad_checkpoint=checkpointing,
        model__disc_off_grad_ckpt=True,
    )
    nets, real = networks(config, world), real_clips()
    figures = step_gradients(nets, [real], 0, config)
    found = {name: parameter.grad.clone() for name, parameter in nets.autoencoder.named_parameters()}
    of_projection = nets.alignment.projection.weight.grad.clone()
    nets.optimizer.zero_grad()
    nets.beside["alignment"].optimizer.zero_grad()

    model = nets.autoencoder
    output = model(real)
    nll = l1_loss(output.reconstruction, real)
    z, f = places(output.latents), places(latent_features(nets.alignment.network, model, real))
    loss = distance_term(z, f, 0.0) + cosine_term(nets.alignment.projection(z), f, 0.1)
    last = model.encoder_last_layer
    weight = adaptive_weight(*(torch.autograd.grad(root, last, retain_graph=True)[0] for root in (nll, loss)))
    assert 0 < weight < 1e4
    assert figures["alignment_weight"].item() == pytest.approx(weight.item(), rel=1e-3)
    assert figures["alignment"].item() == pytest.approx(loss.item(), rel=1e-4)
    (nll + 0.5 * weight * loss).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-2, atol=1e-6, msg=name)
    torch.testing.assert_close(of_projection, nets.alignment.projection.weight.grad, rtol=1e-3, atol=1e-8)


def test_latents_come_nearer_to_the_network(world, weights):
    config = small_config(latent_loss_config__alignment=0.5, alignment_config__network=weights, lr=3e-3)
    nets, real = networks(config, world), real_clips()
    before = {name: tensor.clone() for name, tensor in nets.alignment.network.state_dict().items()}
    losses = [train_step(nets, [real], step, config, world)["alignment"] for step in range(6)]
    assert losses[-1] < losses[0] - 0.05
    assert all(torch.equal(tensor, before[name]) for name, tensor in nets.alignment.network.state_dict().items())


def test_images_take_it_too(world, weights):
    config = small_config(latent_loss_config__alignment=0.5, alignment_config__network=weights)
    figures = train_step(networks(config, world), [real_clips()[:, :, :1]], 0, config, world)
    assert figures["alignment"] > 0


def test_a_checkpoint_holds_the_projection_and_one_without_begins_it(world, weights, tmp_path):
    config = small_config(latent_loss_config__alignment=0.5, alignment_config__network=weights)
    nets, real = networks(config, world), real_clips()
    train_step(nets, [real], 0, config, world)
    (tmp_path / "with").mkdir()
    save_state(tmp_path / "with", nets, {"step": 1}, config, world)
    again = networks(config, world)
    load_state(tmp_path / "with", again, config, world)
    assert torch.equal(again.alignment.projection.weight, nets.alignment.projection.weight)
    assert train_step(again, [real], 1, config, world) == train_step(nets, [real], 1, config, world)
    plain = small_config()
    (tmp_path / "without").mkdir()
    save_state(tmp_path / "without", networks(plain, world), {"step": 1}, plain, world)
    load_state(tmp_path / "without", again, config, world)
    load_state(tmp_path / "with", networks(plain, world), plain, world)


def test_what_is_missing_is_said_in_one_line(world):
    config = small_config(latent_loss_config__alignment=0.5, alignment_config__network="nowhere/at/all.safetensors")
    with pytest.raises(WeightsError, match=r"`latent_loss_config\.alignment` 0\.5: .*fetch nowhere/at/all") as error:
        build_networks(config, world)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"latent_loss_config\.alignment"):
        small_config(latent_loss_config__alignment=0.5, parallel="fsdp")


def test_an_estimate_counts_the_network(world, weights):
    """On fake tensors: the network over both latents' frames and a pass more through the decoder; and its memory."""
    plain = small_config(bucket_config={"16px_ar1:1": {8: (1.0, 1)}}, dry_run=True)
    settings = {"latent_loss_config.alignment": 0.5, "alignment_config.network": weights}
    aligned = override(plain, settings)
    network = load_vision(weights)
    with Counter() as counter:
        latent_features(network, build_networks(plain, world).autoencoder, real_clips()[:1])
    more, less = estimate(aligned), estimate(plain)
    assert more.tflop - less.tflop > counter.operations / 1e12
    projection = 16 * network.channels
    assert more.state_gb - less.state_gb == pytest.approx(4 * 4 * projection / 1e9, rel=0.01)  # with AdamW's two
    assert more.peak_gb - less.peak_gb > 4 * sum(p.numel() for p in network.parameters()) / 1e9
    with pytest.raises(WeightsError, match=r"`latent_loss_config\.alignment` 0\.5: nowhere"):
        estimate(override(plain, settings | {"alignment_config.network": "nowhere"}))


def test_its_preset_is_the_first_stage_of_the_published_schedule():
    config = preset_config({"preset": "video_dc_ae_align"})
    assert config.latent_loss_config.weights == {"alignment": 0.5}
    assert config.alignment_config.network == "facebook/dinov2-large/model.safetensors"
    later = preset_config({"preset": "video_dc_ae_align", "stage": "disc"})
    assert later.latent_loss_config.weights == {"alignment": 0.1}
    assert (later.alignment_config.distance_margin, later.alignment_config.cosine_margin) == (0.25, 0.5)
