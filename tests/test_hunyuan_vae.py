"""The HunyuanVideo VAE against the published implementation, and what it promises beyond it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision_operators  # noqa: F401 (before a class of diffusers is looked up)
from reference_weights import formula_clip, formula_state_dict, relative_error
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workbench.errors import ConfigError
from workbench.models.causal_blocks import NORM_EPS, frame_causal_attention
from workbench.models.hunyuan_vae import HunyuanVAE, HunyuanVAEConfig

REFERENCE = Path(__file__).parent / "reference"
SMALL = HunyuanVAEConfig(widths=(32, 32, 64, 64), layers_per_block=1, latent_channels=4)
DEEP = HunyuanVAEConfig(widths=(32, 64, 128, 128))
"""As deep as the published one, and as its widths grow, at a quarter of them."""


def diffusers_twin(config: HunyuanVAEConfig) -> torch.nn.Module:
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    return AutoencoderKLHunyuanVideo(
        block_out_channels=config.widths,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
    ).eval()


def random_clip(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def small() -> HunyuanVAE:
    torch.manual_seed(0)
    return HunyuanVAE(SMALL).eval()


@pytest.fixture(scope="module")
def full() -> HunyuanVAE:
    with torch.device("meta"):
        return HunyuanVAE()


@torch.inference_mode()
def reference_errors(config: HunyuanVAEConfig, name: str, clip: Tensor) -> tuple[float, float]:
    """Relative errors of the latents of the clip, and of the decoding of the reference's latents."""
    with torch.device("meta"):
        model = HunyuanVAE(config).eval()
    model.load_state_dict(formula_state_dict(model), strict=True, assign=True)
    reference = {key: torch.from_numpy(value) for key, value in np.load(REFERENCE / f"{name}.npz").items()}
    y = model.decode(reference["z"], num_frames=clip.shape[2], size=tuple(clip.shape[3:]))
    return relative_error(model.encode(clip), reference["z"]), relative_error(y, reference["y"])


def test_small_model_matches_the_reference_on_a_clip():
    assert max(reference_errors(SMALL, "hy_small_video", formula_clip(1, 9, 64, 64, 1))) <= 2e-5


def test_small_model_matches_the_reference_on_an_image():
    assert max(reference_errors(SMALL, "hy_small_image", formula_clip(1, 1, 64, 96, 2))) <= 2e-5


def test_full_model_matches_the_reference_on_an_image():
    assert max(reference_errors(HunyuanVAEConfig(), "hy_full_image", formula_clip(1, 1, 64, 64, 2))) <= 2e-5


def test_every_normalisation_has_the_published_groups_and_epsilon(full):
    norms = [module for module in full.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) == 52  # two in each of 10 + 14 ResNet blocks, one for each attention, one at each end
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-6)}
    assert NORM_EPS == 1e-6


@pytest.mark.parametrize(("config", "keys"), [(SMALL, "hunyuan_small"), (HunyuanVAEConfig(), "hunyuan_vae")])
def test_parameter_names_and_shapes_are_the_published_ones(config, keys):
    with torch.device("meta"):
        state = HunyuanVAE(config).state_dict()
    shapes = {name: list(value.shape) for name, value in state.items()}
    assert shapes == json.loads((REFERENCE / f"{keys}.keys.json").read_text())


def test_full_model_has_the_published_parameter_count(full):
    assert sum(parameter.numel() for parameter in full.parameters()) == 246_478_803


@torch.inference_mode()
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (SMALL, (2, 3, 9, 32, 48)),
        (SMALL, (1, 3, 1, 64, 64)),
        (DEEP, (1, 3, 5, 32, 32)),
        pytest.param(HunyuanVAEConfig(), (1, 3, 5, 32, 32), marks=pytest.mark.slow),
    ],
    ids=["small-clip", "small-image", "deep-clip", "full-clip"],
)
def test_equals_diffusers_on_the_same_random_weights(config, shape):
    """In float64: in float32 the two take other kernels, whose rounding differs by processor, up to 1.3e-5 was seen."""
    theirs = diffusers_twin(config).double()
    with torch.device("meta"):
        ours = HunyuanVAE(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    x = random_clip(*shape).double()
    moments = theirs.encode(x).latent_dist
    posterior = ours.posterior(x)
    assert relative_error(posterior.mean, moments.mean) < 1e-10
    assert relative_error(posterior.logvar, moments.logvar) < 1e-10
    assert relative_error(ours.encode(x), theirs.config.scaling_factor * moments.mode()) < 1e-10
    y = ours.decode(ours.config.scaling_factor * moments.mode())
    assert relative_error(y, theirs.decode(moments.mode()).sample) < 1e-10


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (17, 30)])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 9, 29])
def test_any_clip_comes_back_in_its_shape(small, num_frames, size):
    x = random_clip(1, 3, num_frames, *size)
    z = small.encode(x)
    assert z.shape[1:] == small.latent_shape(num_frames, *size)
    y = small.decode(z, num_frames=num_frames, size=size)
    assert y.shape == x.shape
    assert y.isfinite().all()


@pytest.mark.parametrize("frames_and_tokens", [(1, 7), (4, 1), (5, 6)])
def test_attention_equals_the_masked_one(frames_and_tokens):
    frames, tokens = frames_and_tokens
    q, k, v = (random_clip(2, frames * tokens, 16) * scale for scale in (3, -2, 1))
    frame = torch.arange(frames).repeat_interleave(tokens)
    scores = (q @ k.transpose(1, 2) / 16**0.5).masked_fill(frame[:, None] < frame, -torch.inf)
    torch.testing.assert_close(frame_causal_attention(q, k, v, tokens), scores.softmax(-1) @ v)


class LargestTensor(TorchDispatchMode):
    """Watches every operator's results for the largest tensor that is more than a view of a smaller one."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


@pytest.mark.parametrize("training", [False, True])
def test_attention_allocates_nothing_larger_than_the_tokens(training):
    frames, frame_tokens, channels = 12, 64, 64
    q, k, v = (random_clip(1, frames * frame_tokens, channels).requires_grad_(training) for _ in range(3))
    with LargestTensor() as largest:
        h = frame_causal_attention(q, k, v, frame_tokens)
        if training:
            h.sum().backward()
    assert 0 < largest.elements <= q.numel() * 2 < (frames * frame_tokens) ** 2


def test_posterior_mode_is_repeatable_and_samples_spread_as_it_says(small):
    x = random_clip(1, 3, 5, 32, 32)
    with torch.inference_mode():
        posterior, scale = small.posterior(x), small.config.scaling_factor
        assert torch.equal(small.encode(x), scale * posterior.mean)
        samples = torch.stack([small.encode(x, sample_posterior=True) for _ in range(64)])
    deviations = (samples / scale - posterior.mean) / torch.exp(0.5 * posterior.logvar)
    assert deviations.mean().abs() < 0.05
    assert deviations.std() == pytest.approx(1.0, abs=0.05)


def test_training_pass_returns_the_posterior_of_its_latents(small):
    x = random_clip(2, 3, 5, 16, 16)
    output = small(x)
    assert output.reconstruction.shape == x.shape
    torch.testing.assert_close(output.latents, small.config.scaling_factor * output.posterior.mean)
    assert output.posterior.kl() > 0


def test_log_variance_is_clamped():
    model = HunyuanVAE(SMALL)
    with torch.no_grad():
        model.quant_conv.bias.copy_(torch.tensor([0.0] * 4 + [-100.0, 100.0, 100.0, -100.0]))
        logvar = model.posterior(random_clip(1, 3, 1, 16, 16)).logvar
    assert logvar.amin() == -30.0
    assert logvar.amax() == 20.0


class FrameNorm(torch.nn.GroupNorm):
    """Group normalisation of every frame by itself: what is left of the network then looks back in time only."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super(FrameNorm, self).forward(frame) for frame in x.unbind(2)], dim=2)


@torch.inference_mode()
def test_without_its_normalisation_no_latent_and_no_frame_depends_on_later_ones():
    torch.manual_seed(0)
    model = HunyuanVAE(SMALL).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.__class__ = FrameNorm
    x = random_clip(1, 3, 13, 32, 32)
    changed = x.clone()
    changed[:, :, 9:] = -changed[:, :, 9:]  # frames 9-12 belong to the last of the four latents
    before, after = model.encode(x), model.encode(changed)
    torch.testing.assert_close(after[:, :, :3], before[:, :, :3])
    assert relative_error(after[:, :, 3], before[:, :, 3]) > 0.01
    torch.testing.assert_close(model.decode(after)[:, :, :9], model.decode(before)[:, :, :9])


@pytest.mark.parametrize("last_layer_off", [True, False])
def test_gradient_checkpointing_changes_no_gradient_and_saves_memory(small, last_layer_off):
    x = random_clip(1, 3, 5, 32, 32)

    def gradients(checkpointing: bool) -> tuple[list[Tensor], int]:
        small.zero_grad()
        small.set_gradient_checkpointing(checkpointing, last_layer_off)
        kept = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = small(x)
        (output.reconstruction - x).abs().mean().add(output.posterior.kl()).backward()
        return [parameter.grad.clone() for parameter in small.parameters()], kept

    try:
        (plain, all_kept), (checkpointed, few_kept) = gradients(False), gradients(True)
    finally:
        small.set_gradient_checkpointing(False)
    torch.testing.assert_close(checkpointed, plain)
    assert few_kept < all_kept


def test_last_layer_has_a_gradient_of_its_own_while_checkpointing(small):
    small.set_gradient_checkpointing(True)
    try:
        y = small(random_clip(1, 3, 1, 16, 16)).reconstruction
        (gradient,) = torch.autograd.grad(y.square().mean(), small.last_layer, retain_graph=True)
        (again,) = torch.autograd.grad(y.square().mean(), small.last_layer)
    finally:
        small.set_gradient_checkpointing(False)
    assert gradient.shape == (3, 32, 3, 3, 3)
    assert torch.equal(gradient, again)
    assert gradient.norm() > 0


def test_works_in_bfloat16():
    """Dozens of layers round to 8 bits in a row, and group norms of few values amplify that in a random decoder: 0.025
    and 0.086 were the most of four seeds."""
    torch.manual_seed(0)
    model, x = HunyuanVAE(SMALL).eval(), random_clip(1, 3, 5, 32, 32)
    with torch.no_grad():
        z = model.encode(x)
        exact = model.decode(z)
        rounded = model.bfloat16().encode(x)
        y = model.decode(z)
    assert rounded.dtype == y.dtype == torch.bfloat16
    assert relative_error(rounded.float(), z) < 0.1
    assert relative_error(y.float(), exact) < 0.3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("widths", (32, 32, 64)),
        ("widths", (32, 32, 64, 48)),
        ("widths", (64, 64, 32, 64)),
        ("layers_per_block", 0),
        ("latent_channels", 0),
    ],
)
def test_impossible_architecture_is_refused_by_the_name_of_its_setting(field, value):
    with pytest.raises(ConfigError, match=f"`{field}`"):
        HunyuanVAEConfig(**{field: value})


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_scaling_factor_is_refused(scale):
    with pytest.raises(ConfigError, match="`scaling_factor`"):
        HunyuanVAEConfig(scaling_factor=scale)
