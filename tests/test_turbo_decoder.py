"""The small decoder of the Video DC-AE: shapes, streaming, gradients and what it costs."""

import pytest
import torch
from reference_weights import load_formula_weights
from strips import assert_strips_are_the_whole
from torch import Tensor

import workbench as wb
from workbench.counting import Counter
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled
from workbench.models.local_blocks import SeparableResBlock
from workbench.models.registry import build_autoencoder
from workbench.models.video_dc_ae import VideoDCAEConfig
from workbench.training.presets import TURBO

SMALL = {
    "widths": (4, 4, 8, 8, 8, 8),
    "encoder_depths": (0,) * 6,
    "latent_channels": 4,
    "decoder_widths": (4, 8, 8),
    "decoder_depths": (1, 1, 1),
    "scaling_factor": 0.5,
}


@pytest.fixture(scope="module")
def exact() -> Autoencoder:
    """In float64: results differ by the last rounding to float32 alone."""
    model = build_autoencoder("video_dc_ae", SMALL).double().eval().requires_grad_(False)
    load_formula_weights(model)
    return model


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", [(1, 33, 30), (3, 32, 64), (9, 40, 32)])
def test_any_clip_comes_back_in_its_shape_streamed_or_not(exact, size):
    z = exact.encode(random(1, 3, *size))
    y = exact.decode(z, size[0], size[1:])
    assert y.shape == (1, 3, *size)
    for push in (1, 5):
        streamed = decode_tiled(exact, z, wb.Tiling(tiling_mode="stages", push_frames=push), size[0], size[1:])
        torch.testing.assert_close(streamed, y.float(), rtol=2e-6, atol=2e-6)


def test_an_image_is_the_mean_of_a_clip(exact):
    z = random(1, 4, 1, 2, 1)
    torch.testing.assert_close(exact.decode(z, 1), exact.decode(z, 4).mean(2, keepdim=True))


def test_strips_read_all_rows_that_their_own_depend_on(exact):
    assert_strips_are_the_whole(exact.decode_stages(False)[0], random(1, 4, 2, 40, 1), push=2)


def test_gradients_of_its_block_are_those_of_its_output():
    block = SeparableResBlock(2).double()
    load_formula_weights(block)
    assert torch.autograd.gradcheck(block, (random(1, 2, 2, 2, 2).requires_grad_(),))


def test_the_published_model_gets_an_eighth_of_the_parameters_and_a_hundredth_of_the_work():
    found = []
    with torch.device("meta"), torch.no_grad():
        for architecture in ({}, TURBO["model.architecture"]):
            model = build_autoencoder("video_dc_ae", architecture)
            with Counter() as counter:
                model.decode(torch.empty(1, 128, 8, 8, 8), 32)
            found.append((sum(p.numel() for p in model.decoder.parameters()), counter.operations))
    (parameters, operations), (small_parameters, small_operations) = found
    assert parameters == 239_022_211
    assert 7 < parameters / small_parameters < 8
    assert 100 < operations / small_operations < 110


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_widths": (8, 8)}, "number of stages`?: 2 is out of range"),
        ({"decoder_widths": (8,) * 7}, "between 3 and 6"),
        ({"decoder_widths": (64, 128, 256, 512)}, "decoder_depths: 6 values for 4 stages of decoder_widths"),
        ({"decoder_widths": (64, 128, 256, 320), "decoder_depths": (1,) * 4}, "256 before 320 allows no shortcut"),
        (
            {"decoder_widths": (60, 120, 240, 240), "decoder_depths": (1,) * 4},
            "128 must divide 240, the last of",
        ),
    ],
)
def test_impossible_decoders_are_config_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        VideoDCAEConfig(**changes)
