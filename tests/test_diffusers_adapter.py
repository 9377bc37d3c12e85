"""Autoencoders of diffusers behind the one interface, each class in a tiny configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision_operators  # noqa: F401 (before a class of diffusers is looked up)
from reference_weights import relative_error
from torch import Tensor

from workbench.errors import ConfigError, WeightsError
from workbench.models.catalogue import DIFFUSERS_CLASSES
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.diffusers_adapter import adapted, load_diffusers
from workbench.models.diffusers_autoencoder import DiffusersAutoencoder
from workbench.models.diffusers_calls import encode_clip, moments
from workbench.models.diffusers_classes import ADAPTERS
from workbench.models.hunyuan_vae import HunyuanVAE, HunyuanVAEConfig
from workbench.models.plans import encode_plan, tile_plans
from workbench.models.registry import paired
from workbench.tile_settings import Tiling
from workbench.tiling import pad_end

TINY = {
    "AutoencoderKLHunyuanVideo": {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "latent_channels": 4},
    "AutoencoderKLHunyuanVideo15": {
        "block_out_channels": (32, 32, 32, 32, 32),
        "layers_per_block": 1,
        "latent_channels": 4,
    },
    "AutoencoderKLWan": {"base_dim": 8, "num_res_blocks": 1},
    "AutoencoderKLCogVideoX": {
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "AutoencoderKLLTXVideo": {
        "block_out_channels": (8, 16, 16, 16),
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_block_out_channels": (8, 16, 32),
        "decoder_layers_per_block": (1, 1, 1, 1),
        "decoder_spatio_temporal_scaling": (True, True, True),
        "decoder_inject_noise": (False, False, False, False),
        "upsample_residual": (True, True, True),
        "upsample_factor": (2, 2, 2),
        "latent_channels": 8,
        "timestep_conditioning": True,
    },
    "AutoencoderKLLTX2Video": {
        "block_out_channels": (8, 16, 32, 64),
        "decoder_block_out_channels": (8, 16, 32),
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1),
        "latent_channels": 8,
    },
    "AutoencoderKLCosmos": {
        "encoder_block_out_channels": (8, 16, 16, 16),
        "decode_block_out_channels": (8, 16, 16, 16),
        "num_layers": 1,
    },
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": (32, 32, 32, 64),
        "decoder_block_out_channels": (32, 32, 32, 64),
        "layers_per_block": (1, 1, 1, 1, 1),
    },
    "AutoencoderKLMagvit": {
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "AutoencoderVidTok": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    "AutoencoderDC": {
        "latent_channels": 4,
        "attention_head_dim": 4,
        "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), (5,)),
        "decoder_qkv_multiscales": ((), (5,)),
        "scaling_factor": 0.41407,
    },
    "AutoencoderKL": {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "shift_factor": 0.1159,
        "scaling_factor": 0.3611,
    },
    "AutoencoderKLAllegro": {
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 32,
    },
    "AutoencoderKLTemporalDecoder": {
        "block_out_channels": (64, 64),  # of 32 groups: one value in a group cannot be normalised
        "down_block_types": ("DownEncoderBlock2D",) * 2,
    },
    "AutoencoderKLHunyuanImageRefiner": {
        "block_out_channels": (8, 8, 8, 8, 8),
        "layers_per_block": 1,
        "latent_channels": 4,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
    },
    "AutoencoderKLFlux2": {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "latent_channels": 4,
    },
    "AutoencoderKLHunyuanImage": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (64, 64, 64),
        "layers_per_block": 1,
        "spatial_compression_ratio": 4,
        "sample_size": 64,
        "scaling_factor": 0.75289,
    },
    "AutoencoderKLKVAE": {"channels": 64, "ch_mult": (1, 1), "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4},
    "AutoencoderKLKVAEVideo": {"ch": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "z_channels": 4},
    "Kandinsky6SRVAE": {
        "latent_channels": 4,
        "encoder_block_out_channels": (4, 8, 16, 32),
        "decoder_block_out_channels": (4, 8, 16, 32),
        "layers_per_block": 1,
    },
    "AutoencoderKLMiniMaxH3": {
        "latent_channels": 4,
        "block_out_channels": (8, 8, 8),
        "layers_per_block": 1,
        "spatial_downsample_factors": (2, 2, 1),
        "temporal_downsample_factors": (2, 2, 1),
        "norm_num_groups": 4,
        "decoder_num_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_attention_head_dim": 16,
        "latents_mean": (0.5,) * 4,
        "latents_std": (2.0,) * 4,
    },
    "AutoencoderRAE": {
        "encoder_type": "mae",
        "encoder_hidden_size": 64,  # of heads of 64
        "encoder_patch_size": 8,
        "encoder_num_hidden_layers": 1,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
        "patch_size": 4,
        "encoder_input_size": 32,
    },
    "AutoencoderKLQwenImage": {"base_dim": 8, "num_res_blocks": 1},
    "AutoencoderKLQwenImage21": {"base_dim": 8, "decoder_base_dim": 8, "num_res_blocks": 1},
}


DECODERS = {
    "LTX2VideoDiffusionDecoderModel": {
        "latent_channels": 8,
        "decoder_head_dim": 8,
        "decoder_stage_channels": (32, 16, 8, 8, 8),
        "decoder_stage_depths": (1,) * 5,
        "decoder_stage_kernels": ((1, 2, 2),) * 4,
        "decoder_upsample_channel_reductions": (2, 2, 1, 1),
        "decoder_stage5_kernel": (3, 2, 2),
        "decoder_t_emb_dim": 8,
    },
}
"""Classes that have no encoder."""


def tiny_vae(name: str, **settings: object) -> torch.nn.Module:
    import diffusers

    if name == "AutoencoderRAE":
        pytest.importorskip("transformers")

    torch.manual_seed(0)
    return getattr(diffusers, name)(**(TINY | DECODERS)[name] | settings).eval()


def tiny(name: str, **settings: object) -> DiffusersAutoencoder:
    return adapted(tiny_vae(name, **settings)).eval()


@pytest.fixture(scope="module", params=TINY)
def adapter(request) -> DiffusersAutoencoder:
    return tiny(request.param)


def random_clip(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_every_adapted_class_is_tried_here_and_exists():
    import diffusers

    assert set(TINY | DECODERS) == set(DIFFUSERS_CLASSES) == set(ADAPTERS)
    assert all(hasattr(diffusers, name) for name in DIFFUSERS_CLASSES)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 17, 33), (10, 16, 16)])
def test_any_clip_comes_back_in_its_shape(adapter, shape):
    x = random_clip(1, 3, *shape)
    z = adapter.encode(x)
    assert z.shape[1:] == adapter.latent_shape(*shape)
    y = adapter.decode(z, num_frames=shape[0], size=shape[1:])
    assert y.shape == x.shape
    assert y.isfinite().all()


def own_reconstruction(vae: torch.nn.Module, x: Tensor) -> Tensor:
    """What the class itself makes of clips or images, one by one, through its own `forward`."""
    name = type(vae).__name__
    if name == "AutoencoderTiny":  # its `forward` rounds latents to bytes
        return vae.decode(vae.encode(x).latents).sample
    arguments: dict[str, object] = {} if name == "AutoencoderDC" else {"sample_posterior": False}
    if vae.config.get("timestep_conditioning"):
        arguments["temb"] = torch.tensor([0.05])
    if name == "AutoencoderKLTemporalDecoder":
        frames = x.transpose(1, 2).flatten(0, 1)
        y = vae(frames, num_frames=x.shape[2], **arguments).sample
        return y.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
    return torch.cat([vae(one, **arguments).sample for one in x.split(1)])


SINGLE_FRAMES = [f"diffusers:AutoencoderKL{name}" for name in ("QwenImage", "QwenImage21", "HunyuanImageRefiner")]
"""Image models whose images have an axis of time."""

TILED_BY_THEMSELVES = ["AutoencoderKLAllegro", "AutoencoderKLMiniMaxH3", "AutoencoderRAE"]
"""Their own methods take clips of certain sizes alone: see the tests of each."""


@torch.inference_mode()
@pytest.mark.parametrize("adapter", [n for n in TINY if n not in TILED_BY_THEMSELVES], indirect=True)
@pytest.mark.parametrize("latents", [1, 3, 5])
def test_reconstruction_is_that_of_the_model_itself(adapter, latents):
    side = 2 * adapter.spatial_stride
    x = random_clip(2, 3, adapter.frames_of(latents), side, side)
    if adapter.name in SINGLE_FRAMES:
        frames = adapter.row.to_pixels(adapter.vae, x).split(1, dim=2)
        expected = torch.cat([own_reconstruction(adapter.vae, frame) for frame in frames], 2)[:, :3]
    elif adapter.row.grid == "frames":
        expected = torch.stack([own_reconstruction(adapter.vae, frame) for frame in x.unbind(2)], 2)
    else:
        expected = own_reconstruction(adapter.vae, x)
    assert relative_error(adapter(x).reconstruction, expected) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("latents", [1, 2, 3, 4])
@pytest.mark.parametrize("adapter", [n for n in TINY if ADAPTERS[n].grid == "causal"], indirect=True)
def test_decoder_is_given_what_makes_frames_of_every_latent_count(adapter, latents):
    decoded = adapter.vae.decode(
        adapter._padded_latents(random_clip(1, adapter.latent_channels, latents, 2, 2)),
        **({"temb": torch.tensor([0.05])} if adapter.config.get("timestep_conditioning") else {}),
    )
    frames = (decoded if isinstance(decoded, Tensor) else decoded.sample).shape[2]
    padded = latents + int(adapter.row.odd_latents and latents % 2 == 0)
    assert frames == adapter.frames_of(padded)


OWN_TILES = [name for name, spec in DIFFUSERS_CLASSES.items() if spec.tiles.startswith("its own")]


@pytest.mark.parametrize("name", TINY)
def test_tiles_are_what_the_list_says(name):
    adapter, tiles = tiny(name), DIFFUSERS_CLASSES[name].tiles
    assert adapter.tiles_are_own == tiles.startswith("its own")
    size = adapter.frames_of(20), 1024, 1024
    is_exact = encode_plan(adapter, size, Tiling(tiling_mode="stages")).is_exact
    assert is_exact == (tiles != "free")
    assert encode_plan(adapter, size, Tiling()).is_exact == is_exact  # and what is exact is the default


@torch.inference_mode()
@pytest.mark.parametrize("adapter", [n for n in TINY if n not in OWN_TILES], indirect=True)
def test_any_clip_goes_through_tiles(adapter):
    """Tiles of the fewest latents that overlap on every axis; the clip ends inside a tile."""
    stride, frames = adapter.spatial_stride, adapter.frames_of(3)
    tiles = Tiling(spatial_tile_size=2 * stride, temporal_tile_size=frames, tile_overlap_factor=0.5)
    size = adapter.frames_of(4) - int(adapter.temporal_stride > 1), 3 * stride - 1, 2 * stride + 1
    assert len(tile_plans(adapter, *size, tiles)[0]) == 2 * 2 * 2
    x = random_clip(1, 3, *size)
    z = encode_tiled(adapter, x, tiles)
    assert z.shape[1:] == adapter.latent_shape(*size)
    y = decode_tiled(adapter, z, tiles, size[0], size[1:])
    assert y.shape == x.shape
    assert y.isfinite().all()


PUBLISHED_SCALES = {
    "AutoencoderKLHunyuanVideo": 0.476986,
    "AutoencoderKLHunyuanVideo15": 1.03682,
    "AutoencoderKLCogVideoX": 1.15258426,
    "AutoencoderKLMagvit": 0.7125,
    "AutoencoderDC": 0.41407,
    "AutoencoderVidTok": 1.0,
    "AutoencoderKLTemporalDecoder": 0.18215,
    "AutoencoderTiny": 1.0,
    "AutoencoderKLHunyuanImage": 0.75289,
    "AutoencoderKLKVAE": 1.0,
}


@torch.inference_mode()
@pytest.mark.parametrize("name", PUBLISHED_SCALES)
def test_latents_are_scaled_by_the_published_factor(name):
    adapter = tiny(name)
    x = random_clip(1, 3, 1, 32, 32)
    whole = x.expand(-1, -1, adapter.temporal_stride, -1, -1) if adapter.row.repeat_first else x
    takes_images = adapter.row.encode is not encode_clip
    raw = moments(adapter.vae.encode(x[:, :, 0] if takes_images else whole))[0]
    torch.testing.assert_close(adapter.encode(x).flatten(), raw.flatten() * PUBLISHED_SCALES[name])


@torch.inference_mode()
def test_latents_of_mochi_are_normalised_per_channel():
    adapter = tiny("AutoencoderKLMochi")
    x = random_clip(1, 3, 1, 32, 32)
    mean, std = (torch.tensor(adapter.config[name]).view(12, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    torch.testing.assert_close(adapter.encode(x), (adapter.vae.encode(x).latent_dist.mode() - mean) / std)


@torch.inference_mode()
def test_latents_of_wan_are_normalised_per_channel():
    adapter = tiny("AutoencoderKLWan")
    x = random_clip(1, 3, 5, 16, 16)
    mean, std = (torch.tensor(adapter.config[name]).view(16, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    torch.testing.assert_close(adapter.encode(x), (adapter.vae.encode(x).latent_dist.mode() - mean) / std)


@pytest.mark.parametrize(
    "settings", [{}, {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}]
)
@torch.inference_mode()
def test_wan_streamed_is_wan_in_one_piece(settings):
    """By the caches of its own code, in float64: clips of any length, odd sides, an image; pieces of any size."""
    adapter = tiny("AutoencoderKLWan", **settings).double()
    for frames, push in ((1, 4), (5, 1), (8, 3), (17, 200)):
        x = random_clip(1, 3, frames, 32, 25).double()
        z = adapter.encode(x)
        y = adapter.decode(z, frames, (32, 25))
        tiling = Tiling(tiling_mode="stages", push_frames=push)
        assert encode_plan(adapter, (frames, 32, 25), tiling).is_exact
        torch.testing.assert_close(encode_tiled(adapter, x, tiling), z.float(), rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(decode_tiled(adapter, z, tiling, frames, (32, 25)), y.float(), rtol=2e-6, atol=2e-6)


@torch.inference_mode()
def test_latents_of_an_image_model_are_shifted_and_scaled():
    adapter = tiny("AutoencoderKL")
    x = random_clip(1, 3, 1, 16, 16)
    expected = (adapter.vae.encode(x[:, :, 0]).latent_dist.mode() - 0.1159) * 0.3611
    torch.testing.assert_close(adapter.encode(x)[:, :, 0], expected)


def test_ratios_of_ltx_are_read_or_counted_from_the_kind_of_each_level():
    told = {"temporal_compression_ratio": 8, "spatial_compression_ratio": 32}
    for settings in ({}, told):
        adapter = tiny("AutoencoderKLLTX2Video", **settings)
        assert (adapter.temporal_stride, adapter.spatial_stride) == (8, 32)
    adapter = tiny("AutoencoderKLLTX2Video", spatio_temporal_scaling=(True, True, False, True))
    assert (adapter.temporal_stride, adapter.spatial_stride) == (4, 16)  # of sides, of time, and of both


@torch.inference_mode()
def test_latents_of_ltx_are_normalised_by_its_buffers():
    vae = tiny_vae("AutoencoderKLLTXVideo")
    vae.latents_mean.fill_(0.5)
    vae.latents_std.fill_(2.0)
    x = random_clip(1, 3, 1, 32, 32)
    expected = (vae.encode(x).latent_dist.mode() - 0.5) / 2
    torch.testing.assert_close(adapted(vae).encode(x), expected)


def test_latents_of_cosmos_are_normalised_alike_in_every_frame():
    adapter = tiny("AutoencoderKLCosmos")
    per_frame = torch.tensor(adapter.config.latents_std).view(16, 16)
    torch.testing.assert_close(adapter.std[:, 0, 0, 0], per_frame.mean(1))


@torch.inference_mode()
def test_hunyuan_video_equals_this_librarys_own_on_the_same_weights():
    adapter = tiny("AutoencoderKLHunyuanVideo").double()
    own = HunyuanVAE(HunyuanVAEConfig((32, 32, 64, 64), 1, 4)).eval().double()
    own.load_state_dict(adapter.vae.state_dict(), strict=True)
    x = random_clip(1, 3, 18, 10, 20)
    z = own.encode(x)
    assert relative_error(adapter.encode(x), z) < 1e-10
    assert relative_error(adapter.decode(z, 18, (10, 20)), own.decode(z, 18, (10, 20))) < 1e-10


def test_posterior_is_sampled_only_when_asked():
    adapter = tiny("AutoencoderKLCogVideoX")
    x = random_clip(1, 3, 5, 16, 16)
    with torch.inference_mode():
        assert torch.equal(adapter.encode(x), adapter.encode(x))
        assert not torch.equal(adapter.encode(x, sample_posterior=True), adapter.encode(x))
        assert adapter(x).posterior.mean.shape == adapter.encode(x).shape
        assert tiny("AutoencoderDC")(x).posterior is None


@torch.inference_mode()
@pytest.mark.parametrize("folder", ["", "vae"], ids=["autoencoder", "pipeline"])
def test_saved_model_loads_from_its_folder(tmp_path, folder):
    saved = tiny("AutoencoderKLCogVideoX")
    saved.vae.save_pretrained(tmp_path / folder)
    loaded = load_diffusers(str(tmp_path)).eval()
    assert loaded.name == "diffusers:AutoencoderKLCogVideoX"
    x = random_clip(1, 3, 3, 16, 16)
    assert torch.equal(loaded.encode(x), saved.encode(x))


@pytest.mark.parametrize("name", TINY | DECODERS)
def test_every_class_loads_from_its_folder(tmp_path, name):
    saved = tiny(name)
    saved.vae.save_pretrained(tmp_path)
    loaded = load_diffusers(str(tmp_path))
    assert (type(loaded), loaded.latent_channels, loaded.weights_path) == (type(saved), saved.latent_channels, tmp_path)
    first, again = saved.state_dict(), loaded.state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_class_name_builds_the_default_configuration():
    adapter = load_diffusers("AutoencoderKL")
    assert adapter.name == "diffusers:AutoencoderKL"
    assert adapter.config.scaling_factor == 0.18215


def test_unknown_class_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"did you mean AutoencoderKLWan\?"):
        load_diffusers("AutoencoderKLWam")


def test_folder_of_a_class_that_is_not_adapted_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(ConfigError, match="VQModel"):
        load_diffusers(str(tmp_path))


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="not a folder or Hub repository with weights"):
        load_diffusers(str(tmp_path))


def test_truncated_weights_are_refused(tmp_path):
    tiny_vae("AutoencoderKLCogVideoX").save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a folder or Hub repository with weights"):
        load_diffusers(str(tmp_path))


def test_unreachable_repository_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"nobody/nothing/vae.*nor to be had from the Hub"):
        load_diffusers("nobody/nothing/vae")


@torch.inference_mode()
def test_allegro_in_one_tile_of_its_own_is_allegro():
    """A clip of the one size that its own methods take whole, 24 frames of `sample_size`."""
    adapter = tiny("AutoencoderKLAllegro")
    assert (adapter.default_tile_frames, adapter.default_tile_pixels) == (24, 32)
    adapter.vae.enable_tiling()
    x = random_clip(1, 3, 24, 32, 32)
    expected = own_reconstruction(adapter.vae, x).transpose(1, 2)  # time stands before channels in what it decodes
    assert relative_error(adapter(x).reconstruction, expected) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize(
    "settings",
    [{}, {"regularizer": "fsq", "z_channels": 3, "codebook_size": 512, "double_z": False}],
    ids=["kl", "fsq"],
)
def test_vidtok_that_is_not_causal_is_adapted(settings):
    """Any multiple of 4 frames, where its own `forward` takes multiples of 16."""
    adapter = tiny("AutoencoderVidTok", is_causal=False, **settings)
    assert (adapter.causal, adapter.legal_frames(9)) == (False, 12)
    x = random_clip(1, 3, 16, 16, 16)
    assert relative_error(adapter(x).reconstruction, own_reconstruction(adapter.vae, x)) < 1e-5
    for frames in (1, 9):
        z = adapter.encode(x[:, :, :frames])
        assert z.shape[1:] == adapter.latent_shape(frames, 16, 16)
        assert adapter.decode(z, frames).shape[2] == frames


@torch.inference_mode()
def test_fsq_latents_of_a_causal_vidtok_are_its_quantised_values():
    adapter = tiny("AutoencoderVidTok", regularizer="fsq", z_channels=3, codebook_size=512, double_z=False)
    x = random_clip(1, 3, 5, 16, 16)
    z = adapter.encode(x)
    expected = adapter.vae.regularization(adapter.vae.encoder(torch.cat([x[:, :, :1]] * 3 + [x], 2)))[0]
    torch.testing.assert_close(z, expected)
    assert adapter(x).posterior is None


@torch.inference_mode()
def test_latents_of_flux2_are_squares_normalised_by_its_batch_norm():
    vae = tiny_vae("AutoencoderKLFlux2")
    vae.bn.running_mean.copy_(torch.arange(16.0))
    vae.bn.running_var.fill_(4.0 - vae.config.batch_norm_eps)
    x = random_clip(1, 3, 1, 16, 16)
    plain = vae.encode(x[:, :, 0]).latent_dist.mode()  # (1, 4, 8, 8)
    squares = plain.view(1, 4, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 16, 4, 4)  # as its pipeline packs them
    z = adapted(vae).encode(x)
    torch.testing.assert_close(z[:, :, 0], (squares - torch.arange(16.0).view(1, 16, 1, 1)) / 2)


@torch.inference_mode()
def test_frames_of_qwen_image_with_alpha_are_opaque():
    adapter = tiny("AutoencoderKLQwenImage21")
    x = random_clip(1, 3, 1, 32, 32)
    plain = adapter.vae.encode(torch.cat([x, torch.ones(1, 1, 1, 32, 32)], 1)).latent_dist.mode()
    mean, std = (torch.tensor(adapter.config[name]).view(64, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    torch.testing.assert_close(adapter.encode(x), (plain - mean) / std)


STREAMED = {
    "AutoencoderKLKVAEVideo": [1, 5, 17, 25, 40],
    "Kandinsky6SRVAE": [1, 5, 18, 33],
    "AutoencoderKLMiniMaxH3": [1, 5, 22, 40],
}


@torch.inference_mode()
@pytest.mark.parametrize("name", STREAMED)
def test_streamed_is_one_piece(name):
    """By the caches of the class's own code, in float64, with pieces of any size."""
    adapter = tiny(name).double()
    for frames, push in zip(STREAMED[name], (1, 3, 200, 7, 4), strict=False):
        x = random_clip(1, 3, frames, 16, 9).double()
        z = adapter.encode(x)
        y = adapter.decode(z, frames, (16, 9))
        tiling = Tiling(tiling_mode="stages", push_frames=push)
        torch.testing.assert_close(encode_tiled(adapter, x, tiling), z.float(), rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(decode_tiled(adapter, z, tiling, frames, (16, 9)), y.float(), rtol=2e-6, atol=2e-6)


@torch.inference_mode()
def test_kvae_gives_all_frames_where_its_own_code_gives_too_few():
    """21 frames are 6 latents; its own `decode` takes the last, which is a segment of its own, for an image."""
    adapter = tiny("AutoencoderKLKVAEVideo")
    x = random_clip(1, 3, 21, 8, 8)
    z = adapter.encode(x)
    assert adapter.vae.decode(z).sample.shape[2] == 18
    in_one_segment = adapter.vae.decoder(z, adapter.vae._make_decoder_cache())
    torch.testing.assert_close(adapter.decode(z, 21), in_one_segment)
    assert adapter(x).posterior.logvar.std() > 0  # which its own `encode` throws away


def minimax(tile: int, overlap: int) -> DiffusersAutoencoder:
    vae = tiny_vae("AutoencoderKLMiniMaxH3")
    vae.enable_tiling(tile, tile, overlap, overlap)
    return adapted(vae).eval()


@torch.inference_mode()
@pytest.mark.parametrize("frames", [22, 39, 30])
def test_minimax_h3_is_itself_in_its_own_tiles(frames):
    adapter = minimax(16, 4)
    x = random_clip(1, 3, frames, 40, 24)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = (pad_end(x, adapter.legal_frames(frames), 40, 24).add(1).div(2) - mean) / std
    plain = adapter.vae.encode(pixels).latent_dist.mode()
    z = adapter.encode(x)
    assert relative_error(z, (plain - 0.5) / 2) < 1e-5
    own = (adapter.vae.decode(plain).sample * std + mean) * 2 - 1
    assert relative_error(adapter.decode(z, frames, (40, 24)), own[:, :, :frames]) < 1e-5


@torch.inference_mode()
def test_tiles_of_another_size_are_refused_where_they_are_a_part_of_the_model():
    adapter, x = minimax(16, 4), random_clip(1, 3, 5, 40, 24)
    own = encode_tiled(adapter, x, Tiling(spatial_tile_size=16))
    assert torch.equal(own, adapter.encode(x))
    for tiling, word in (
        (
            Tiling(spatial_tile_size=32),
            "spatial_tile_size`: the tiles of .*MiniMaxH3, 16 pixels, are a part of the model",
        ),
        (Tiling(temporal_tile_size=22), "temporal_tile_size"),
        (Tiling(tile_overlap_factor=0.5), "tile_overlap_factor"),
        (Tiling(tiling_mode="frames"), "tiling_mode"),
    ):
        with pytest.raises(ConfigError, match=word):
            encode_tiled(adapter, x, tiling)
        with pytest.raises(ConfigError, match=word):
            tile_plans(adapter, 22, 40, 24, tiling)


def test_rae_without_the_package_of_its_encoders_says_which(monkeypatch):
    monkeypatch.setattr("workbench.models.diffusers_adapter.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install transformers"):
        load_diffusers("AutoencoderRAE")


@torch.inference_mode()
def test_rae_takes_frames_in_squares():
    adapter = tiny("AutoencoderRAE")
    assert (adapter.default_tile_pixels, adapter.latent_channels, adapter.spatial_stride) == (16, 64, 4)
    x = random_clip(1, 3, 2, 16, 32)
    z = adapter.encode(x)
    square = x[:, :, 1, :, 16:]
    torch.testing.assert_close(z[:, :, 1, :, 4:], adapter.vae.encode((square + 1) / 2).latent)
    y = adapter.decode(z, 2, (16, 32))
    torch.testing.assert_close(y[:, :, 1, :, 16:], adapter.vae.decode(z[:, :, 1, :, 4:]).sample * 2 - 1)


@torch.inference_mode()
def test_the_diffusion_decoder_of_ltx2_decodes_latents_of_ltx2():
    """From the same noise each time; clips smaller than its attention needs are grown, and cut back."""
    decoder = tiny("LTX2VideoDiffusionDecoderModel")
    pair = paired(tiny("AutoencoderKLLTX2Video"), decoder).eval()
    x = random_clip(1, 3, 9, 64, 64)
    z = pair.encode(x)
    own = decoder.vae.decode(z, generator=torch.Generator().manual_seed(0)).sample
    torch.testing.assert_close(pair.decode(z, 9), own)
    for size in ((1, 20, 33), (4, 32, 64)):
        small = x[:, :, : size[0], : size[1], : size[2]]
        y = decode_tiled(pair, pair.encode(small), Tiling(), size[0], size[1:])
        assert y.shape == small.shape
        assert y.isfinite().all()
    with pytest.raises(ConfigError, match="has no encoder; name it as `decoder`"):
        decoder.encode(x)


@pytest.mark.parametrize("state", ["as it is here", "not installed"])
def test_classes_are_found_whatever_torchvision_is(state):
    """Beside a torch without CUDA it cannot be imported; lpips, which is not needed for models, brings it."""
    code = "import sys\nif sys.argv[1] == 'not installed': sys.modules['torchvision'] = None\n"
    code += "from workbench.models.diffusers_adapter import diffusers_class\n"
    code += "print(diffusers_class('AutoencoderKLMagvit').__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code, state], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600
    )
    assert done.stdout.strip() == "AutoencoderKLMagvit", done.stderr
