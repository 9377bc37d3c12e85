"""Vision networks against independent implementations, their files, and their features where latents are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import formula_clip, relative_error
from safetensors.torch import save_file
from small_models import small_model
from small_vision import PATCH, small_dinov2, transformers_names, write_dinov2

from workbench.errors import WeightsError
from workbench.metrics.lpips import load_lpips
from workbench.vision.base import grid_features, latent_features, mean_features, middle_frames
from workbench.vision.dinov2 import load_dinov2
from workbench.vision.load import load_vision, vision_layers
from workbench.vision.vgg import VGGFeatures

REFERENCE = Path(__file__).parent / "reference" / "dinov2_small.npz"


def frames(height: int, width: int) -> torch.Tensor:
    return formula_clip(2, 1, height, width, seed=3)[:, :, 0]


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("grid", [(5, 5), (3, 7)])
def test_features_are_those_of_transformers(registers, grid):
    """Dinov2Model and Dinov2WithRegistersModel of transformers 5.23.0 on these weights and frames, float32 on a CPU;
    the second grid is not the trained one."""
    found = small_dinov2(registers)(frames(grid[0] * PATCH, grid[1] * PATCH))
    expected = torch.from_numpy(np.load(REFERENCE)[f"registers_{registers}_{grid[0]}x{grid[1]}"])
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("prefix", ["", "dinov2.", "module.backbone."])
@pytest.mark.parametrize("naming", [dict, transformers_names])
def test_files_of_either_naming_are_read(tmp_path, prefix, naming):
    network = small_dinov2(4)
    state = naming(dict(network.state_dict())) | {"classifier.weight": torch.zeros(3, 3)}
    save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "model.safetensors")
    found = load_vision(str(tmp_path))
    x = frames(70, 70)
    assert torch.equal(found(x), network(x))
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_the_file_that_torch_hub_keeps_is_found_by_its_models_name(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"'https://.*dinov2_vits14/dinov2_vits14_reg4_pretrain\.pth'"):
        load_vision("dinov2_vits14_reg")
    (tmp_path / "checkpoints").mkdir()
    state = dict(small_dinov2().state_dict()) | {"mask_token": torch.zeros(1, 128)}
    torch.save(state, tmp_path / "checkpoints" / "dinov2_vits14_pretrain.pth")
    assert load_vision("dinov2_vits14").stride == PATCH


def test_what_is_no_dinov2_is_refused_in_one_line(tmp_path):
    for state, words in (
        ({"a": torch.zeros(1)}, "not the weights of DINOv2, cls_token is not among them"),
        ({"blocks.0.mlp.w12.weight": torch.zeros(1), "cls_token": torch.zeros(1)}, "giant"),
        (dict(small_dinov2().state_dict()) | {"blocks.1.norm1.weight": torch.zeros(3)}, r"blocks\.1\.norm1\.weight"),
    ):
        save_file(state, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match=words) as error:
            load_dinov2(tmp_path / "other.safetensors")
        assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="nowhere"):
        load_vision("nowhere")


@pytest.mark.parametrize(
    ("name", "parameters", "registers"),
    [
        ("facebook/dinov2-small/model.safetensors", 22_056_576, 0),
        ("dinov2_vitb14", 86_580_480, 0),
        ("facebook/dinov2-with-registers-base/model.safetensors", 86_583_552, 4),
        ("dinov2_vitl14_reg", 304_372_736, 4),
    ],
)
def test_a_published_networks_name_tells_its_layers(name, parameters, registers):
    """Counts of transformers' models of these names, whose mask token is not needed here."""
    with torch.device("meta"):
        network = vision_layers(name)()
    assert sum(p.numel() for p in network.parameters()) == parameters - network.channels
    assert (network.stride, network.grid) == (14, 37)
    assert (network.register_tokens is not None) == bool(registers)


def test_a_file_tells_its_layers_whatever_its_name_is(tmp_path):
    path = write_dinov2(tmp_path / "dinov2-base.safetensors")
    assert vision_layers(str(path))().channels == small_dinov2().channels
    with pytest.raises(WeightsError, match="dinov2-giant"):
        vision_layers(str(tmp_path / "dinov2-giant"))


def test_vggs_features_are_the_taps_of_lpips():
    network = VGGFeatures(load_lpips(random_backbone=True))
    x = frames(64, 96)
    found = network(x)
    assert found.shape == (2, network.channels, 64 // network.stride, 96 // network.stride)
    unit = found / found.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit, network.lpips.features(x)[-1], rtol=1e-4, atol=1e-6)


def test_features_of_a_place_are_the_mean_of_its_patches():
    network = small_dinov2()
    x = frames(8 * PATCH, 16 * PATCH)
    patches = network(torch.nn.functional.interpolate(x, (12 * PATCH, 24 * PATCH), mode="bilinear", antialias=True))
    found = grid_features(network, x, (4, 8))  # 16 / sqrt(32) is about 3 patches a place
    expected = patches.unflatten(2, (4, 3)).unflatten(4, (8, 3)).mean((3, 5))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert mean_features(network, x).shape == (2, network.channels)


def test_each_latent_is_held_against_the_middle_of_its_frames(tmp_path):
    blockwise, causal = small_model("dct"), small_model("hunyuan_vae")
    assert middle_frames(blockwise, 8) == [2, 6]
    assert middle_frames(blockwise, 6) == [2, 5]
    assert middle_frames(causal, 9) == [0, 3, 7]
    assert middle_frames(causal, 1) == middle_frames(blockwise, 1) == [0]
    network = load_vision(str(write_dinov2(tmp_path / "model.safetensors")))
    clip = formula_clip(2, 8, 64, 32, seed=1)
    found = latent_features(network, blockwise, clip)
    assert found.shape == (2, network.channels, 2, 2, 1)
    torch.testing.assert_close(found[:, :, 1], grid_features(network, clip[:, :, 6], (2, 1)), rtol=1e-4, atol=1e-5)
