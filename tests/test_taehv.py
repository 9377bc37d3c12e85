"""TAEHV against what the published implementation computes on formula weights, and its files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import formula_clip, formula_state_dict, load_formula_weights, relative_error
from safetensors.torch import save_file
from small_models import small_model

from workbench.errors import ConfigError
from workbench.jobs.found_models import find_models, shape_of
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.plans import encode_plan
from workbench.models.registry import build_autoencoder, load_autoencoder
from workbench.models.taehv import architecture_in
from workbench.tile_settings import Tiling

REFERENCE = Path(__file__).parent / "reference" / "taehv.npz"
PUBLISHED = {
    "taew2_1": ({}, 9, 16),
    "taew2_2_super": ({"patch_size": 2, "latent_channels": 48, "is_super": True}, 9, 32),
    "taeltx_2": (
        {"patch_size": 4, "latent_channels": 128, "encoder_times": (2, 2, 2), "decoder_times": (2, 2, 2)},
        9,
        32,
    ),
    "taeh3": ({"patch_size": 2, "latent_channels": 24, "in_clips": True}, 39, 16),
}
"""Architecture, and frames and side of the clip, of a published file; the larger decoder has other widths."""
SUPER_WIDTHS = {"decoder_widths": (512, 256, 128, 64)}


def built(name: str):
    architecture = PUBLISHED[name][0]
    wide = SUPER_WIDTHS if architecture.get("is_super") else {}
    return build_autoencoder("taehv", architecture | wide).eval().requires_grad_(False)


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_are_those_of_the_published_implementation(name):
    model, (_, frames, side) = built(name), PUBLISHED[name]
    load_formula_weights(model)
    reference = np.load(REFERENCE)
    z, y = (torch.from_numpy(reference[f"{name}.{part}"]) for part in "zy")
    assert relative_error(model.encode(formula_clip(1, frames, side, side, 1)), z) < 2e-5
    assert relative_error(model.decode(z, frames, (side, side)), y) < 2e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_tensors_tell_the_architecture(name):
    model = built(name)
    told = architecture_in({key: tensor.shape for key, tensor in model.state_dict().items()})
    assert type(model.config)(**{key: _frozen(value) for key, value in told.items()}) == model.config


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value


def test_it_has_as_many_tensors_and_parameters_as_the_published_file():
    """taew2_1.safetensors: 128 tensors, 11.3 million parameters, by the page of its mirror on the Hub."""
    state = built("taew2_1").state_dict()
    assert (len(state), sum(map(torch.numel, state.values()))) == (128, 11_315_539)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", [{}, {"in_clips": True}], ids=["causal", "in clips"])
def test_streamed_is_one_piece(architecture):
    small = {"encoder_width": 8, "decoder_widths": (16, 8, 8, 8), "latent_channels": 4}
    model = build_autoencoder("taehv", small | architecture).eval()
    load_formula_weights(model)
    model.double()
    for frames, push in ((1, 4), (5, 1), (9, 3), (40, 7), (18, 200)):
        x = formula_clip(1, frames, 16, 9, 2).double()
        z = model.encode(x)
        tiling = Tiling(push_frames=push)
        assert encode_plan(model, (frames, 16, 9), tiling).is_exact
        torch.testing.assert_close(encode_tiled(model, x, tiling), z.float(), rtol=2e-6, atol=2e-6)
        y = decode_tiled(model, z, tiling, frames, (16, 9))
        torch.testing.assert_close(y, model.decode(z, frames, (16, 9)).float(), rtol=2e-6, atol=2e-6)


def test_a_published_file_is_found_and_loads_without_being_told_what_it_is(tmp_path):
    """As float16 and under any name; the app finds it, and knows its shape, by its header."""
    state = {name: tensor.half() for name, tensor in formula_state_dict(built("taew2_2_super")).items()}
    save_file(state, tmp_path / "mine.safetensors")
    model = load_autoencoder("taehv", tmp_path / "mine.safetensors")
    assert (model.latent_channels, model.spatial_stride, model.config.is_super) == (48, 16, True)
    found = find_models(tmp_path)["taehv@mine.safetensors"]
    assert shape_of(found).latent_channels == 48


def test_settings_that_do_not_fit_each_other_are_named():
    with pytest.raises(ConfigError, match="decoder_times"):
        build_autoencoder("taehv", {"decoder_times": (2, 2, 2)})
    with pytest.raises(ConfigError, match="in_clips"):
        build_autoencoder("taehv", {"encoder_times": (2, 1, 1), "decoder_times": (1, 1, 2), "in_clips": True})
    assert small_model("taehv").last_layer.shape[0] == 3
