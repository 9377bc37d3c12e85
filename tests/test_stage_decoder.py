"""Stage decoder: a decoder for the frozen encoder of another run, its teacher, and what comes out."""

from pathlib import Path

import pytest
import torch
from reference_weights import load_formula_weights
from safetensors.torch import load_file
from small_models import small_model
from training_runs import ARCHITECTURE, SMALL_DECODER, clips, networks, run_steps, small_config, state_of

from workbench.config import override
from workbench.errors import ConfigError, WeightsError
from workbench.models.registry import architecture_of, build_autoencoder
from workbench.models.weights import save_weights
from workbench.training.config import TrainConfig
from workbench.training.distillation import Distillation, averaged_over_time, relative_error
from workbench.training.step import step_gradients, train_step


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Weights of a small Video DC-AE that say their architecture."""
    model = build_autoencoder("video_dc_ae", ARCHITECTURE)
    load_formula_weights(model)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(path, model.state_dict(), "video_dc_ae", architecture_of(model))
    return path


def decoder_config(teacher: Path, **settings: object) -> TrainConfig:
    small = {"model__from_pretrained": str(teacher), "model__architecture": SMALL_DECODER, "distil_config__weight": 1.0}
    return small_config("decoder", **(small | settings))


def test_only_the_decoder_is_trained_and_the_encoder_stays_that_of_the_teacher(world, teacher):
    config = decoder_config(teacher)
    nets = networks(config, world)
    given, before = load_file(teacher), state_of(nets)
    figures = run_steps(nets, config, world, 0, 3)  # the last one of images
    assert {"distillation", "distillation_grad_norm", "l1"} <= set(figures[0])
    assert all(figures[step]["distillation"] > 0.0 for step in range(3))
    after = nets.autoencoder.state_dict()
    encoder = [name for name in after if name.startswith("encoder.")]
    assert all(torch.equal(after[name], given[name]) for name in encoder)
    decoder = [name for name in after if name.startswith("decoder.")]
    assert not [name for name in decoder if torch.equal(after[name], before[f"model.{name}"])]
    assert all(p.grad is None for p in nets.autoencoder.parameters())


def test_gradients_equal_those_of_the_written_out_loss(world, teacher):
    config = decoder_config(teacher, distil_config__weight=0.7, distil_config__stages=2)
    nets = networks(config, world)
    load_formula_weights(nets.autoencoder)
    nets.autoencoder.double()
    nets.distillation.double()
    real = clips(0).double()
    figures = step_gradients(nets, [real], 0, config)
    parameters = [p for p in [*nets.autoencoder.decoder.parameters(), *nets.distillation.projections.parameters()]]
    found = [p.grad.clone() for p in parameters]
    for optimizer in nets.optimizers:
        optimizer.zero_grad()

    model, large = nets.autoencoder, nets.distillation.teacher.decoder
    output = model(real)
    x, y, terms = model.decoder.project_in(output.latents), large.project_in(output.latents), []
    for stage, project in zip((-1, -2), nets.distillation.projections, strict=True):
        x = model.decoder.stages[stage](x)
        for block in large.stages[stage].op_list:
            y = block(y, False) if hasattr(block, "doubles_time") else block(y)
        terms += [(project(x) - y)[clip].square().mean() / y[clip].square().mean() for clip in range(2)]
    distillation = sum(terms) / 4
    ((output.reconstruction - real).abs().mean() + 0.7 * distillation).backward()
    assert figures["distillation"].item() == pytest.approx(distillation.item(), rel=1e-5)  # taken in float32
    for gradient, parameter in zip(found, parameters, strict=True):
        assert (gradient - parameter.grad).norm() <= 1e-5 * parameter.grad.norm() + 1e-8


def test_a_teacher_keeps_its_decoder_alone(world, teacher):
    kept = networks(decoder_config(teacher), world).distillation.teacher
    assert {name.split(".")[0] for name in kept.state_dict()} == {"decoder"}


def test_the_same_decoder_begins_where_the_teachers_is(world, teacher):
    nets = networks(decoder_config(teacher, model__architecture={}, distil_config__weight=0.0), world)
    given = load_file(teacher)
    assert nets.distillation is None
    assert all(torch.equal(tensor, given[name]) for name, tensor in nets.autoencoder.state_dict().items())
    assert {name.split(".")[0] for name in nets.ema.values} == {"decoder"}


def test_stage_disc_goes_on_from_it_with_the_encoder_frozen(world, tmp_path, teacher):
    nets = networks(decoder_config(teacher), world)
    path = tmp_path / "student.safetensors"
    save_weights(path, nets.autoencoder.state_dict(), "video_dc_ae", architecture_of(nets.autoencoder))
    settings = {"model__architecture": {}, "model__from_pretrained": str(path), "model__freeze": "encoder"}
    config = small_config("disc", **settings)
    nets = networks(config, world)  # its architecture is that of the file
    before = nets.autoencoder.encode(clips(0))
    train_step(nets, [clips(0)], 0, config, world)
    assert torch.equal(nets.autoencoder.encode(clips(0)), before)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model.from_pretrained": None}, ConfigError, "`model.from_pretrained`: stage decoder needs the autoencoder"),
        (
            {"model.architecture": SMALL_DECODER | {"latent_channels": 8}},
            ConfigError,
            "latent_channels 16 -> 8",
        ),
        (
            {"model.architecture": SMALL_DECODER | {"scaling_factor": 2.0}},
            ConfigError,
            "scaling_factor None -> 2.0",
        ),
        ({"model.name": "tiny", "model.architecture": {}}, WeightsError, "weights of video_dc_ae, not of tiny"),
        ({"distil_config.stages": 4}, ConfigError, "`distil_config.stages`: 4 is more than the 3 that there are"),
        ({"model.from_pretrained": "none.safetensors"}, WeightsError, "none.safetensors: not found"),
        ({"model.name": "diffusers:AutoencoderDC", "model.architecture": {}}, ConfigError, "diffusers:AutoencoderDC"),
    ],
)
def test_what_does_not_fit_is_one_line(world, teacher, settings, error, message):
    with pytest.raises(error, match=message):
        networks(override(decoder_config(teacher), settings), world)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stage": "ae"}, "stage ae has no teacher; use stage decoder"), ({"parallel": "fsdp"}, "use `parallel` ddp")],
)
def test_features_are_matched_in_stage_decoder_alone(teacher, settings, message):
    with pytest.raises(ConfigError, match=f"`distil_config.weight`: .*{message}"):
        override(decoder_config(teacher), settings)


def test_a_model_that_does_not_tell_its_features_is_refused():
    tiny = small_model("tiny")
    with pytest.raises(ConfigError, match=r"`distil_config.weight`: tiny does not tell the features"):
        Distillation(tiny, tiny, 1)


def test_features_of_other_sizes_are_refused():
    """DC-AE-V's second stage has four times the frames of its first and no larger sides."""
    shape = {"widths": (8,) * 6, "encoder_depths": (0,) * 6, "decoder_depths": (0,) * 6, "latent_channels": 8}
    student, teacher = (build_autoencoder(name, shape) for name in ("video_dc_ae", "dc_ae_v"))
    with pytest.raises(ConfigError, match="stage 2 makes 2x2x2 of a latent, the teacher's 4x1x1; use 1"):
        Distillation(teacher, student, 2)


def test_the_match_is_relative_and_an_image_is_a_still_clip():
    x = torch.tensor([[[[[1.0]], [[3.0]], [[5.0]], [[5.0]]]]])
    assert averaged_over_time(x, 1).item() == 3.5
    assert averaged_over_time(x, 2).flatten().tolist() == [2.0, 5.0]
    assert averaged_over_time(x, 4) is x
    assert relative_error(torch.zeros_like(x), 10 * x).item() == 1.0
    assert relative_error(torch.cat([2 * x, x]), torch.cat([x, 9 * x])).item() == pytest.approx((1 + 64 / 81) / 2)
