"""The Video DC-AE against the published implementation, and what it promises beyond it."""

import json
import math
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_weights import formula_clip, formula_state_dict, load_formula_weights, relative_error
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.models import dc_blocks
from workbench.models.dc_blocks import EfficientViTBlock, ResBlock, RMSNorm, linear_attention, match_channels
from workbench.models.dc_resampling import (
    Downsample,
    SpatialUpsampleConv,
    Upsample,
    add_shuffled,
    pixel_shuffle,
    pixel_unshuffle,
    shuffled_in_time,
    unshuffled,
)
from workbench.models.video_dc_ae import VideoDCAE, VideoDCAEConfig

REFERENCE = Path(__file__).parent / "reference"
SMALL = VideoDCAEConfig((16, 32, 64, 64, 128, 128), (1,) * 6, (1,) * 6, latent_channels=16)
NARROW = VideoDCAEConfig((8,) * 6, (1, 0, 0, 1, 0, 1), (1, 0, 0, 1, 0, 1), latent_channels=8)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def with_formula_weights(config: VideoDCAEConfig) -> VideoDCAE:
    with torch.device("meta"):
        model = VideoDCAE(config)
    model.load_state_dict(formula_state_dict(model), strict=True, assign=True)
    return model.eval()


@pytest.fixture(scope="module")
def small() -> VideoDCAE:
    return with_formula_weights(SMALL)


@pytest.fixture(scope="module")
def full() -> VideoDCAE:
    return with_formula_weights(VideoDCAEConfig())


@pytest.fixture
def narrow() -> VideoDCAE:
    """A model to train: of few channels, its weights large enough that every branch matters."""
    model = VideoDCAE(NARROW)
    load_formula_weights(model)
    return model


# --- the published model


@torch.inference_mode()
def reference_errors(model: VideoDCAE, name: str, clip: Tensor) -> tuple[float, float]:
    """Relative errors of the latents of the clip, and of the decoding of the reference's latents."""
    reference = {key: torch.from_numpy(value) for key, value in np.load(REFERENCE / f"{name}.npz").items()}
    y = model.decode(reference["z"], num_frames=clip.shape[2], size=tuple(clip.shape[3:]))
    return relative_error(model.encode(clip), reference["z"]), relative_error(y, reference["y"])


def test_small_model_matches_the_reference_on_a_clip(small):
    assert max(reference_errors(small, "dc_small_video", formula_clip(1, 8, 64, 64, 1))) <= 2e-5


def test_small_model_matches_the_reference_on_an_image(small):
    assert max(reference_errors(small, "dc_small_image", formula_clip(1, 1, 64, 96, 2))) <= 2e-5


def test_full_model_matches_the_reference_on_an_image(full):
    assert max(reference_errors(full, "dc_full_image", formula_clip(1, 1, 64, 64, 2))) <= 2e-5


def test_full_model_matches_the_reference_on_a_clip(full):
    assert max(reference_errors(full, "dc_full_video", formula_clip(1, 8, 64, 64, 1))) <= 2e-5


@pytest.mark.parametrize(("config", "keys"), [(SMALL, "dc_ae_small"), (VideoDCAEConfig(), "video_dc_ae")])
def test_parameter_names_and_shapes_are_the_published_ones(config, keys):
    with torch.device("meta"):
        state = VideoDCAE(config).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == json.loads(
        (REFERENCE / f"{keys}.keys.json").read_text()
    )


def test_full_model_has_the_published_parameter_counts():
    with torch.device("meta"):
        model = VideoDCAE()
    assert [parameter_count(part) for part in (model, model.encoder, model.decoder)] == [
        459_462_147,
        220_439_936,
        239_022_211,
    ]
    assert model.last_layer.shape == (3, 128, 3, 3, 3)


def test_epsilons_are_the_published_ones():
    assert (dc_blocks.NORM_EPS, dc_blocks.ATTENTION_EPS) == (1e-5, 1e-15)
    norm = RMSNorm(4).requires_grad_(False)
    norm.weight.fill_(1.0)
    x = torch.full((1, 4, 1, 1, 1), 1e-3)
    torch.testing.assert_close(norm(x), x / (1e-6 + 1e-5) ** 0.5)


# --- shapes


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (33, 30)])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 29])
def test_any_clip_comes_back_in_its_shape(small, num_frames, size):
    x = random(1, 3, num_frames, *size)
    z = small.encode(x)
    assert z.shape[1:] == small.latent_shape(num_frames, *size)
    y = small.decode(z, num_frames=num_frames, size=size)
    assert y.shape == x.shape
    assert y.isfinite().all()


@torch.inference_mode()
def test_four_frames_with_one_latent_are_not_mistaken_for_an_image(small):
    z = small.encode(random(1, 3, 4, 32, 32))
    assert z.shape[2] == 1
    clip, image = small.decode(z, num_frames=4), small.decode(z, num_frames=1)
    assert clip.shape[2] == 4
    assert (clip - clip[:, :, :1]).abs().max() > 1e-3  # four frames, not one repeated
    assert not torch.allclose(clip[:, :, :1], image)


@torch.inference_mode()
@pytest.mark.parametrize("num_frames", [1, 4])
def test_a_batch_is_coded_clip_by_clip(small, num_frames):
    exact, x = deepcopy(small).double(), random(2, 3, num_frames, 32, 64)  # float32 rounds by kernel and processor
    z = exact.encode(x)
    torch.testing.assert_close(z[1:], exact.encode(x[1:]))
    torch.testing.assert_close(exact.decode(z, num_frames)[1:], exact.decode(z[1:], num_frames))


@torch.inference_mode()
@pytest.mark.parametrize(
    "config",
    [
        NARROW,
        VideoDCAEConfig((8, 16, 32), (1, 1, 1), (1, 1, 1), latent_channels=8, attention_stages=1),
        VideoDCAEConfig((8, 8, 16, 32), (0,) * 4, (0,) * 4, latent_channels=96, attention_stages=0),
    ],
    ids=["narrow", "three-stages", "no-blocks-wide-latents"],
)
def test_other_architectures_have_the_strides_that_they_state(config):
    model = VideoDCAE(config).eval()
    assert (model.temporal_stride, model.spatial_stride) == (4, 2 ** (len(config.widths) - 1))
    x = random(1, 3, 8, 2 * model.spatial_stride, model.spatial_stride)
    z = model.encode(x)
    assert z.shape == (1, config.latent_channels, 2, 2, 1)
    assert model.decode(z, num_frames=8).shape == x.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (128, 256)}, "number of stages"),
        ({"widths": (128, 256, 512, 512, 1024)}, "encoder_depths: 6 values for 5 stages"),
        ({"decoder_depths": (3, 3)}, "decoder_depths: 2 values for 6 stages"),
        ({"encoder_depths": (2, 2, 2, 3, 3, -1)}, "encoder_depths"),
        ({"widths": (0, 256, 512, 512, 1024, 1024)}, "widths"),
        ({"widths": (128, 256, 320, 512, 1024, 1024)}, "256 before 320 allows no shortcut"),
        ({"widths": (32, 32, 32, 32, 384, 384)}, "32 before 384 allows no shortcut"),
        ({"widths": (25, 25, 25, 25, 50, 100), "latent_channels": 100}, "attention heads"),
        ({"latent_channels": 100}, "latent_channels: 100 must divide"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"attention_stages": 7}, "attention_stages"),
        ({"scaling_factor": 0.0}, "scaling_factor"),
    ],
)
def test_impossible_architectures_are_config_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        VideoDCAEConfig(**changes)


# --- the parts


def test_pixel_unshuffle_orders_channels_first_then_offsets_in_time_height_and_width():
    x = random(1, 3, 4, 4, 6)
    y = pixel_unshuffle(x, (2, 2, 2))
    for index, (c, t, h, w) in enumerate(product(range(3), range(2), range(2), range(2))):
        assert torch.equal(y[:, index], x[:, c, t::2, h::2, w::2])
    assert torch.equal(pixel_shuffle(y, (2, 2, 2)), x)


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize(("few", "many"), [(16, 16), (16, 32), (16, 8), (16, 4), (24, 12), (8, 64), (4, 64)])
def test_shortcuts_without_copies_are_pixels_moved_and_channels_repeated_or_averaged(few, many, factors):
    x = torch.randn(2, few, 4, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(few + many))
    down = match_channels(pixel_unshuffle(x, factors), many)
    torch.testing.assert_close(unshuffled(x, factors, many), down, rtol=0, atol=1e-15)
    up = pixel_shuffle(match_channels(x, many * math.prod(factors)), factors)
    branch = torch.randn(up.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = add_shuffled(branch.clone(), shuffled_in_time(x, factors, many))
    torch.testing.assert_close(found, branch + up, rtol=0, atol=0)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_upsampling_convolution_equals_nearest_upsampling_then_convolving_with_its_gradients(frames):
    layer = SpatialUpsampleConv(6, 4).double()
    nn.init.normal_(layer.conv.conv.bias)
    x = random(2, 6, frames, 3, 5).double().requires_grad_()
    weight, bias = layer.conv.conv.weight, layer.conv.conv.bias
    plain = F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2)), weight, bias, padding=1)
    direction = random(*plain.shape, seed=1).double()
    torch.testing.assert_close(layer(x), plain)
    ours, theirs = (torch.autograd.grad(y, (x, weight, bias), direction) for y in (layer(x), plain))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "block",
    [ResBlock(4), EfficientViTBlock(4), Downsample(4, 8, halves_time=True), Upsample(8, 4, doubles_time=True)],
    ids=lambda block: type(block).__name__,
)
def test_gradients_of_every_block_are_those_of_its_output(block):
    """Guards the in-place operations: numeric derivatives know nothing of what autograd saved."""
    block = block.double()
    load_formula_weights(block)
    channels = block.main.conv.in_channels if isinstance(block, Downsample) else 8 if isinstance(block, Upsample) else 4
    x = random(1, channels, 2, 2, 2).double().requires_grad_()
    arguments = (x, False) if isinstance(block, Upsample) else (x,)
    assert torch.autograd.gradcheck(block, arguments)


@pytest.mark.parametrize("shape", [(1, 3, 1, 32, 32), (1, 3, 4, 32, 32)])
def test_inference_in_place_equals_the_training_pass_and_leaves_its_inputs_alone(narrow, shape):
    narrow, x = deepcopy(narrow).double(), random(*shape).double()  # oneDNN may train with other kernels
    expected = narrow(x)
    with torch.inference_mode():
        kept = x.clone()
        z = narrow.encode(x)
        kept_z = z.clone()
        y = narrow.decode(z, num_frames=shape[2])
    assert torch.equal(x, kept)
    assert torch.equal(z, kept_z)
    torch.testing.assert_close(z, expected.latents.detach())
    torch.testing.assert_close(y, expected.reconstruction.detach())


@torch.inference_mode()
def test_scaling_factor_divides_latents_and_multiplies_before_decoding(small):
    scaled = with_formula_weights(VideoDCAEConfig(**{**vars(SMALL), "scaling_factor": 2.5})).double()
    plain, x = deepcopy(small).double(), random(1, 3, 4, 32, 32)
    z, scaled_z = plain.encode(x), scaled.encode(x)
    torch.testing.assert_close(scaled_z * 2.5, z)
    torch.testing.assert_close(scaled.decode(scaled_z, 4), plain.decode(z, 4))


# --- precision


def attention_by_hand(qkv: Tensor, head_size: int, products: torch.dtype) -> Tensor:
    """Linear attention of one clip written out head by head; every product is rounded to this type."""
    heads = []
    for head in qkv[0].flatten(1).split(3 * head_size):
        q, k, v = (part.to(products) for part in head.split(head_size))
        q, k = q.clamp(min=0), k.clamp(min=0)
        v = torch.cat([v, torch.ones_like(v[:1])])
        out = ((v @ k.T) @ q).float()
        heads.append(out[:-1] / (out[-1:] + 1e-15))
    return torch.cat(heads).to(qkv.dtype).reshape(1, -1, *qkv.shape[2:])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("dtype", "products"),
    [(torch.float32, torch.float32), (torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)],
)
def test_attention_computes_in_the_published_precision_whatever_autocast_says(dtype, products, autocast):
    qkv = (random(1, 2 * 3 * 8, 2, 3, 4) * 3).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = linear_attention(qkv, 8)
    assert out.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    assert relative_error(out, attention_by_hand(qkv, 8, products)) < tolerance


def test_attention_survives_float16_products_beyond_its_range():
    qkv = torch.full((1, 3 * 8, 4, 8, 8), 60.0, dtype=torch.float16)  # 60^3 * 8 * 256 is far above 65504
    torch.testing.assert_close(linear_attention(qkv, 8), torch.full((1, 8, 4, 8, 8), 60.0, dtype=torch.float16))


def test_attention_of_queries_that_match_nothing_is_zero():
    assert linear_attention(-torch.ones(1, 3 * 8, 1, 2, 2), 8).eq(0).all()


def test_norm_takes_its_mean_in_float32_and_returns_the_type_it_got():
    norm = RMSNorm(4).half().requires_grad_(False)
    norm.weight.fill_(1.0)
    x = torch.full((1, 4, 1, 1, 1), 300.0, dtype=torch.float16)  # its square overflows float16
    assert torch.equal(norm(x), torch.ones_like(x))


def test_a_training_pass_under_autocast_has_finite_float32_gradients(narrow):
    with torch.autocast("cpu", torch.bfloat16):
        output = narrow(random(1, 3, 4, 32, 32))
    output.reconstruction.float().square().mean().backward()
    for parameter in narrow.parameters():
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


# --- training


def gradients(model: VideoDCAE, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(model(x).reconstruction.square().mean(), list(model.parameters())))


def count_calls(module: nn.Module) -> list[None]:
    """A list that grows by one whenever a forward pass of the module begins."""
    calls: list[None] = []
    module.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


@pytest.mark.parametrize("last_layer_off", [True, False])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_gradient_checkpointing_recomputes_and_changes_no_gradient(narrow, num_frames, last_layer_off):
    x = random(1, 3, num_frames, 32, 32)
    expected = gradients(narrow, x)
    narrow.set_gradient_checkpointing(True, last_layer_off)
    watched = [
        narrow.encoder.stages[0].op_list[0].main,
        narrow.encoder.stages[3].op_list[-1].main,
        narrow.decoder.stages[5].op_list[0].local_module,
        narrow.decoder.stages[0].op_list[0].main,
        narrow.decoder.project_out,
    ]
    calls = [count_calls(module) for module in watched]
    assert all(torch.equal(a, b) for a, b in zip(gradients(narrow, x), expected, strict=True))
    assert [len(counted) for counted in calls] == [2, 2, 2, 2, 1 if last_layer_off else 2]


def test_gradient_checkpointing_can_be_switched_off_again(narrow):
    narrow.set_gradient_checkpointing(True, last_layer_off=False)
    narrow.set_gradient_checkpointing(False, last_layer_off=False)
    calls = [count_calls(narrow.decoder.stages[0].op_list[0].main), count_calls(narrow.decoder.project_out)]
    gradients(narrow, random(1, 3, 1, 32, 32))
    assert [len(counted) for counted in calls] == [1, 1]


def test_last_layer_has_a_gradient_of_its_own_under_checkpointing_without_recomputing_blocks(narrow):
    narrow.set_gradient_checkpointing(True, last_layer_off=True)
    calls = count_calls(narrow.decoder.stages[0].op_list[0].main)
    loss = narrow(random(1, 3, 4, 32, 32)).reconstruction.square().mean()
    (of_last_layer,) = torch.autograd.grad(loss, narrow.last_layer, retain_graph=True)
    assert len(calls) == 1
    loss.backward()
    assert torch.equal(narrow.last_layer.grad, of_last_layer)


def test_initial_weights_follow_the_recipe():
    torch.manual_seed(0)
    model = VideoDCAE(SMALL).requires_grad_(False)
    scales, weights = [], []
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert value.eq(0).all(), name
        elif value.ndim == 1:
            scales.append(value)
        else:
            weights.append(value.flatten())
    assert len(scales) == sum(isinstance(module, RMSNorm) for module in model.modules()) == 19
    for values in (torch.cat(scales), torch.cat(weights)):
        assert values.mean().abs() < 0.002
        assert values.std().item() == pytest.approx(0.02, rel=0.05)
        assert values.abs().max() < 0.2
