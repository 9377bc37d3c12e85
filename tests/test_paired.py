"""The encoder of one model with the decoder of another: equal latents, and words where they do not fit."""

import json
import math
from pathlib import Path

import pytest
import torch
from clips import write_clip
from reference_weights import formula_state_dict
from safetensors.torch import save_file
from small_models import small_model

from workbench.__main__ import COMMANDS
from workbench.bench.modes import bench_modes_steps
from workbench.bench.settings import BenchSettings
from workbench.cli import main
from workbench.errors import ConfigError, WeightsError
from workbench.models.auto import Choice, ran
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.plans import decode_plan, encode_plan
from workbench.models.ref import ModelRef, parse_models
from workbench.models.registry import build_autoencoder, paired
from workbench.steps import drain
from workbench.tile_settings import Tiling

SMALL = {"encoder_width": 8, "decoder_widths": (16, 8, 8, 8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small Wan as diffusers saves it, and small files of TAEHV for its latents and for others."""
    import diffusers
    import torchvision_operators  # noqa: F401 (before a class of diffusers is looked up)

    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    diffusers.AutoencoderKLWan(base_dim=8, num_res_blocks=1).save_pretrained(root / "wan")
    diffusers.AutoencoderKLWan(base_dim=8, num_res_blocks=1, latents_std=[1.0] * 16).save_pretrained(root / "other")
    for name, channels in (("taew2_1", 16), ("taehv", 16), ("mine", 16), ("four", 4)):
        model = build_autoencoder("taehv", SMALL | {"latent_channels": channels})
        save_file(formula_state_dict(model), root / f"{name}.safetensors")
    return root


def wan(folder: Path, decoder: str | None = None, name: str = "wan") -> ModelRef:
    other = ModelRef("taehv", str(folder / f"{decoder}.safetensors")) if decoder else None
    return ModelRef(f"diffusers:{folder / name}", decoder=other)


@torch.inference_mode()
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(tiling_mode="stages"), Tiling(spatial_tile_size=16)])
def test_latents_are_those_of_the_first_and_frames_those_of_the_second(folder, tiling):
    pair, alone = wan(folder, "taew2_1").load("cpu"), wan(folder).load("cpu")
    small = ModelRef("taehv", str(folder / "taew2_1.safetensors")).load("cpu")
    x = torch.rand(1, 3, 9, 30, 33, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = encode_tiled(pair, x, tiling)
    assert torch.equal(z, encode_tiled(alone, x, tiling))
    assert torch.equal(decode_tiled(pair, z, tiling, 9, (30, 33)), decode_tiled(small, z, tiling, 9, (30, 33)))
    assert torch.equal(pair.decode(z, 9, (30, 33)), small.decode(z, 9, (30, 33)))


def test_each_half_is_run_in_its_own_way(folder):
    """Both streamed, the encoder by Wan's own caches, so that latents are those of Wan alone."""
    pair = wan(folder, "mine").load("cpu")
    used = (*pair.first.vae.encoder.parameters(), *pair.first.vae.quant_conv.parameters())
    used += tuple(pair.second.decoder.parameters())
    assert pair.parameter_count() == sum(p.numel() for p in used)
    size = 97, 512, 512
    assert encode_plan(pair, size, Tiling()) != encode_plan(pair.second, size, Tiling())
    assert decode_plan(pair, size, Tiling()).is_exact
    record = ran(pair, size, Choice(Tiling()))
    assert (record.is_exact, record.tiling_mode) == (True, "stages")


def test_bench_measures_a_pair_whose_memory_cannot_be_predicted(folder):
    settings = BenchSettings(frames=5, height=32, width=32, repeats=1, modes="tiles,stages")
    rows = drain(bench_modes_steps(wan(folder, "mine").load("cpu"), settings, Tiling())).rows
    assert len(rows) == 4
    assert all(row.tflop > 0 and math.isnan(row.predicted_mb) for row in rows)


def test_what_does_not_fit_is_refused_in_words(folder):
    for ref, words in (
        (
            wan(folder, "four"),
            r"`decoder`: diffusers:.*wan makes latents of 16 channels, one for 4x8x8, taehv takes 4 ch",
        ),
        (wan(folder, "taehv"), "taehv decodes latents of AutoencoderKLHunyuanVideo or hunyuan_vae, not of Autoenc"),
        (ModelRef(wan(folder).name, decoder=wan(folder, name="other")), "normalise latents by another deviation"),
    ):
        with pytest.raises(ConfigError, match=words):
            ref.load("cpu")
    with pytest.raises(ConfigError, match="dct decodes latents of dct, not of tiny"):
        paired(build_autoencoder("tiny"), build_autoencoder("dct"))
    h3 = build_autoencoder("taehv", SMALL | {"in_clips": True})
    with pytest.raises(ConfigError, match=r"other numbers of frames: taehv \[1, 5, 9, 13\]"):
        paired(build_autoencoder("taehv", SMALL | {"decoder_times": (2, 2, 1)}), h3)


def test_a_model_may_be_both(folder):
    ae = small_model("hunyuan_vae")
    x = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    pair = paired(ae, ae)
    assert pair.parameter_count() == ae.parameter_count() == sum(p.numel() for p in ae.parameters())
    assert torch.equal(pair(x).reconstruction, ae(x).reconstruction)
    assert [pair.config[part]["model"] for part in ("encoder", "decoder")] == ["hunyuan_vae"] * 2


def test_a_plus_begins_a_decoder_where_a_model_follows():
    alone, with_decoder, path = parse_models("dct,diffusers:a/wan+taehv@b.pt,taehv@c+d.pt")
    assert (alone.decoder, path.decoder, path.weights) == (None, None, "c+d.pt")
    assert with_decoder.name == "diffusers:a/wan"
    assert (with_decoder.decoder.name, with_decoder.decoder.weights) == ("taehv", "b.pt")
    assert with_decoder.label == "diffusers:a/wan+taehv@b.pt"
    for text, kind, words in (
        ("dct+taehv", WeightsError, "taehv needs weights"),
        ("dct+dct+dct", ConfigError, "2 decoders; name one"),
        ("dct+tinny@a", ConfigError, r"unknown|did you mean|not"),
    ):
        with pytest.raises(kind, match=words):
            parse_models(text)


def test_decoders_are_compared_from_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mkv", 5, 16, 16)
    source, small = f"diffusers:{folder / 'wan'}", f"taehv@{folder / 'taew2_1.safetensors'}"
    (tmp_path / "clips").mkdir()
    clip.rename(tmp_path / "clips" / "clip.mkv")
    main("workbench", COMMANDS, ["evaluate", "--models", f"{source},{source}+{small}", "--dataset.data_path", "clips"])
    rows = json.loads((tmp_path / "eval" / "results.json").read_text())["leaderboard"]
    assert [row["model"] for row in rows if "+" in row["model"]] == [f"{source}+{small}"]
    asked = ["--model", source, "--decoder", small]
    main("workbench", COMMANDS, ["reconstruct", "clips/clip.mkv", *asked, "--save_dir", "out"])
    assert "latents 16x2x2x2" in capsys.readouterr().err
    main("workbench", COMMANDS, ["encode", "--model", source, "--dataset.data_path", "clips", "--save_dir", "latents"])
    main("workbench", COMMANDS, ["decode", "latents", "--decoder", small, "--save_dir", "decoded"])
    assert (tmp_path / "decoded" / "clip.mp4").is_file()
    for command in (["encode", "--save_dir", "more"], ["stats", "--out", "more.json"]):
        with pytest.raises(SystemExit):
            main("workbench", COMMANDS, [*command, *asked, "--dataset.data_path", "clips"])
        assert "--decoder: latents are made without it; give it to decode" in capsys.readouterr().err
