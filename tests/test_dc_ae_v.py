"""DC-AE-V against the published implementation (github.com/dc-ai-projects/DC-Gen, cae2205), and what it adds.

`dc_ae_v_small.npz` is what that computes of `formula_clip(1, 16, 64, 32, 1)`: two chunks, with its feature cache.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import formula_clip, load_formula_weights, relative_error
from small_models import ARCHITECTURES, small_model
from strips import assert_strips_are_the_whole
from torch import Tensor

import workbench as wb
from workbench.errors import ConfigError
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.dc_ae_v import DCAEV, DCAEVConfig
from workbench.models.dc_blocks import conv_layer
from workbench.models.local_blocks import ShuffleDown, ShuffleUp
from workbench.models.registry import architecture_in, architecture_of, build_autoencoder

REFERENCE = Path(__file__).parent / "reference"
F64 = {"widths": (256, 512, 512, 1024, 1024, 1024, 1024), "latent_channels": 128}
DEPTHS = (5, 10, 4, 4, 4, 4, 4)


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def exact() -> DCAEV:
    """A small model in float64, of 8 frames a chunk."""
    model = small_model("dc_ae_v").double()
    assert isinstance(model, DCAEV)
    return model


@torch.inference_mode()
def test_it_matches_the_published_implementation_over_two_chunks():
    model = build_autoencoder("dc_ae_v", ARCHITECTURES["dc_ae_v"] | {"scaling_factor": 1.0}).eval()
    load_formula_weights(model)
    z, y = (torch.from_numpy(array) for array in np.load(REFERENCE / "dc_ae_v_small.npz").values())
    clip = formula_clip(1, 16, 64, 32, 1)
    assert relative_error(model.encode(clip), z) <= 2e-5
    assert relative_error(model.decode(z, 16, (64, 32)), y) <= 2e-5


def test_parameter_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        state = build_autoencoder("dc_ae_v").state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == json.loads(
        (REFERENCE / "dc_ae_v.keys.json").read_text()
    )


@pytest.mark.parametrize(
    ("architecture", "parameters", "stride", "scale"),
    [
        ({}, 2_138_635_436, 32, 0.7241),
        ({"latent_channels": 64}, 2_140_404_940, 32, 0.7614),
        ({"latent_channels": 128}, 2_143_943_948, 32, 0.4457),
        ({"latent_channels": 256}, 2_151_021_964, 32, 0.4752),
        (F64 | {"encoder_depths": DEPTHS, "decoder_depths": DEPTHS}, 2_717_281_804, 64, 0.4752),
        ({"latent_channels": 48}, 2_139_520_188, 32, 1.0),
    ],
)
def test_the_published_sizes_are_made_by_architecture(architecture, parameters, stride, scale):
    with torch.device("meta"):
        model = build_autoencoder("dc_ae_v", architecture)
    assert isinstance(model.config, DCAEVConfig)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert (model.spatial_stride, model.temporal_stride, model.config.scale) == (stride, 4, scale)
    own = architecture_of(model)
    for prefix in ("", "ema_model_state_dict.0.999."):
        told = architecture_in("dc_ae_v", {prefix + name: x.shape for name, x in model.state_dict().items()})
        assert told.keys() == own.keys() - {"chunk_frames", "scaling_factor"}
        assert all(own[name] == value for name, value in told.items())


def test_a_chunk_sees_the_one_before_and_not_the_one_after(exact):
    x = random(1, 3, 24, 32, 32)
    z = exact.encode(x)
    later, earlier = x.clone(), x.clone()
    later[:, :, 8:] = random(1, 3, 16, 32, 32).flip(2)
    earlier[:, :, 7] += 0.5
    torch.testing.assert_close(exact.encode(later)[:, :, :2], z[:, :, :2], rtol=0, atol=0)
    assert (exact.encode(earlier)[:, :, 2] - z[:, :, 2]).abs().max() > 1e-3
    assert (exact.encode(earlier)[:, :, 0] - z[:, :, 0]).abs().max() > 1e-3  # within a chunk both ways


def test_latents_and_frames_of_a_chunk_do_not_change_when_more_follows(exact):
    x = random(1, 3, 16, 32, 32)
    z = exact.encode(x)
    torch.testing.assert_close(exact.encode(x[:, :, :8]), z[:, :, :2])
    torch.testing.assert_close(exact.decode(z[:, :, :2], 8), exact.decode(z, 16)[:, :, :8])


def test_a_chunk_that_is_cut_short_ends_in_zeros(exact):
    conv = conv_layer(3, 2, chunk=8).double()
    load_formula_weights(conv)
    x = random(1, 3, 13, 4, 4)
    long = torch.cat([x, torch.zeros_like(x[:, :, :3])], dim=2)
    torch.testing.assert_close(conv(x), conv(long)[:, :, :13])
    plain = conv_layer(3, 2).double()
    plain.load_state_dict(conv.state_dict())
    torch.testing.assert_close(conv(x[:, :, :8]), plain(x[:, :, :8]))


def test_an_image_is_a_still_clip_and_its_first_frame(exact):
    x = random(1, 3, 1, 32, 64)
    z = exact.encode(x)
    torch.testing.assert_close(z, exact.encode(x.expand(-1, -1, 4, -1, -1)))
    torch.testing.assert_close(exact.decode(z, 1), exact.decode(z, 4)[:, :, :1])


@pytest.mark.parametrize(
    ("size", "push"), [((1, 33, 50), 4), ((3, 32, 32), 1), ((9, 30, 32), 3), ((26, 32, 31), 1), ((22, 64, 32), 12)]
)
def test_streamed_it_is_the_whole_clip_whatever_is_pushed(exact, size, push):
    x, tiling = random(1, 3, *size), wb.Tiling(tiling_mode="stages", push_frames=push)
    z = exact.encode(x)
    y = exact.decode(z, size[0], size[1:])
    torch.testing.assert_close(encode_tiled(exact, x, tiling), z.float(), rtol=2e-6, atol=2e-6)
    decoded = decode_tiled(exact, z, tiling, size[0], size[1:])
    torch.testing.assert_close(decoded, y.float(), rtol=2e-6, atol=2e-6)


def test_strips_read_all_rows_that_their_own_depend_on():
    """Ranks share a clip by strips."""
    shallow = {"encoder_depths": (0, 1, 0, 0, 0, 0), "decoder_depths": (0, 1, 0, 0, 0, 0)}
    model = build_autoencoder("dc_ae_v", ARCHITECTURES["dc_ae_v"] | shallow).double().eval().requires_grad_(False)
    load_formula_weights(model)
    x = random(1, 3, 4, 352, 32)
    for stage, given in ((model.encode_stages()[0], x), (model.decode_stages(False)[0], model.encode(x))):
        assert_strips_are_the_whole(stage, given, push=4)


@pytest.mark.parametrize("block", [ShuffleDown(4, 4, (4, 1, 1), 2), ShuffleUp(4, 4, (1, 2, 2), 2)])
def test_gradients_of_a_block_are_those_of_its_output(block):
    block = block.double()
    load_formula_weights(block)
    channels = block.main.conv.get_submodule("conv").in_channels
    assert torch.autograd.gradcheck(block, (random(1, channels, 4, 2, 2).requires_grad_(),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (256,)}, "number of stages"),
        ({"widths": (256, 512)}, "encoder_depths: 6 values for 2 stages"),
        ({"widths": (256, 510, 512, 1024, 1024, 1024)}, "510 channels do not split"),
        ({"widths": (256, 768, 512, 1024, 1024, 1024)}, "256 before 768 allows no shortcut"),
        ({"decoder_depths": (5, 10, 4, 4, 4, -1)}, "decoder_depths"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"chunk_frames": 10}, "chunk_frames: 10 is no multiple of 4"),
        ({"scaling_factor": -1.0}, "scaling_factor"),
    ],
)
def test_impossible_architectures_are_config_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        DCAEVConfig(**changes)
