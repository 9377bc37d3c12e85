"""Weights: found, read without running code, refused with the first mismatches, written so that they stand alone."""

import argparse
import json
import pickle
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file
from small_models import ARCHITECTURES, small_model

import workbench as wb
from workbench.models.ref import ModelRef
from workbench.models.registry import architecture_of
from workbench.models.weights import locate_weights, read_weights, save_weights
from workbench.training.checkpoint import find_checkpoint

SMALL = ARCHITECTURES["video_dc_ae"]


@pytest.fixture(scope="module")
def model():
    return small_model("video_dc_ae")


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_saved_weights_carry_their_architecture(model, tmp_path):
    save_weights(tmp_path / "a.safetensors", model.state_dict(), "video_dc_ae", architecture_of(model))
    loaded = wb.load_autoencoder("video_dc_ae", tmp_path / "a.safetensors")
    assert loaded.config == model.config
    assert same_weights(loaded, model)
    assert not loaded.training
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    with pytest.raises(wb.WeightsError, match="holds weights of video_dc_ae, not of hunyuan_vae"):
        wb.load_autoencoder("hunyuan_vae", tmp_path / "a.safetensors")


def test_foreign_files_load_with_the_architecture_given(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    torch.save(model.state_dict(), tmp_path / "a.pt")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "b.pt")
    for name in ("a.safetensors", "a.pt", "b.pt"):
        assert same_weights(wb.load_autoencoder("video_dc_ae", tmp_path / name, architecture=SMALL), model)


def test_half_precision_on_disk_becomes_the_dtype_asked_for(model, tmp_path):
    half = {name: value.half() for name, value in model.state_dict().items()}
    save_weights(tmp_path / "a.safetensors", half, "video_dc_ae", architecture_of(model))
    assert wb.load_autoencoder("video_dc_ae", tmp_path / "a.safetensors", dtype="float32").dtype == torch.float32


def test_a_checkpoint_folder_gives_its_ema_and_a_run_its_newest_checkpoint(tmp_path):
    for step in ("step-000010", "step-000020"):
        (tmp_path / step).mkdir()
        for name in ("model", "ema"):
            save_file({"x": torch.zeros(1)}, tmp_path / step / f"{name}.safetensors")
    assert locate_weights(tmp_path) == tmp_path / "step-000020" / "ema.safetensors"
    (tmp_path / "step-000020" / "ema.safetensors").unlink()
    assert locate_weights(tmp_path / "step-000020").name == "model.safetensors"


def test_mismatches_are_listed(model, tmp_path):
    state = dict(model.state_dict())
    names = list(state)
    state.pop(names[0])
    state["extra.weight"] = torch.zeros(1)
    state[names[1]] = torch.zeros(3, 3)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(wb.WeightsError) as error:
        wb.load_autoencoder("video_dc_ae", tmp_path / "a.safetensors", architecture=SMALL)
    assert f"missing {names[0]}" in str(error.value)
    assert "unexpected extra.weight" in str(error.value)
    assert f"{names[1]} has shape (3, 3)" in str(error.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tiny", "leave `model.from_pretrained` out for the shipped weights, or train anew"),
        ("video_dc_ae", "of another `model.architecture`: train anew"),
    ],
)
def test_weights_of_an_older_model_of_this_name_say_what_to_do(tmp_path, name, remedy):
    model = small_model(name)
    state, first = dict(model.state_dict()), next(iter(model.state_dict()))
    save_weights(tmp_path / "a.safetensors", state | {first: torch.zeros(3, 3)}, name, architecture_of(model))
    save_weights(tmp_path / "b.safetensors", state, name, {"width": 192, "encoder_depth": 1})
    shape = f"{first} has shape \\(3, 3\\), .*"
    for path, fault in (("a.safetensors", shape), ("b.safetensors", "this model has no encoder_depth, width")):
        with pytest.raises(wb.WeightsError, match=f"{fault}; it is of another version of {name}, or .*{remedy}$"):
            wb.load_autoencoder(name, tmp_path / path)


class Exploit:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Exploit(), protocol=protocol))
    torch.save({"weight": Exploit()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(wb.WeightsError, match="nothing in it was run"):
            wb.load_autoencoder("video_dc_ae", tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["random.safetensors", "random.pt", "empty.safetensors", "empty.pt"])
def test_damaged_files_are_refused_by_name(tmp_path, name):
    content = b"" if name.startswith("empty") else bytes(range(256)) * 8
    (tmp_path / name).write_bytes(content)
    with pytest.raises(wb.WeightsError, match=name):
        wb.load_autoencoder("video_dc_ae", tmp_path / name)


def test_damaged_metadata_and_pickles_are_refused(model, tmp_path):
    state = {"x": torch.zeros(1)}
    for number, stored in enumerate(["{bad", "[]", '{"model": "video_dc_ae"}']):
        save_file(state, tmp_path / f"{number}.safetensors", {"workbench": stored})
        with pytest.raises(wb.WeightsError, match="architecture is damaged"):
            wb.load_autoencoder("video_dc_ae", tmp_path / f"{number}.safetensors")
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pt").read_bytes()
    for position in range(0, len(whole), 7):
        (tmp_path / "b.pt").write_bytes(whole[:position] + b"\xff" + whole[position + 1 :])
        with suppress(wb.WeightsError):  # any other error fails the test; some damage only changes a value
            read_weights(tmp_path / "b.pt")


def test_a_truncated_file_is_refused(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(wb.WeightsError, match=r"cut\.safetensors"):
        wb.load_autoencoder("video_dc_ae", tmp_path / "cut.safetensors", architecture=SMALL)


def test_missing_weights_say_where_to_get_them_and_random_ones_must_be_asked_for(tmp_path):
    with pytest.raises(wb.WeightsError, match=r"F32T4C128_AE\.safetensors.*'random'"):
        wb.load_autoencoder("video_dc_ae")
    with pytest.raises(wb.WeightsError, match="not found"):
        wb.load_autoencoder("video_dc_ae", tmp_path / "nothing.safetensors")
    with pytest.raises(wb.WeightsError, match="class without weights"):
        wb.load_autoencoder("diffusers:AutoencoderKLWan")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(wb.WeightsError, match="unknown weight format"):
        wb.load_autoencoder("video_dc_ae", tmp_path / "a.onnx")
    first, second = (wb.load_autoencoder("video_dc_ae", "random", architecture=SMALL) for _ in range(2))
    assert same_weights(first, second)


def test_unknown_names_devices_and_dtypes_are_named():
    with pytest.raises(wb.ConfigError, match="did you mean video_dc_ae"):
        wb.load_autoencoder("video_dcae")
    with pytest.raises(wb.ConfigError, match="`device`"):
        wb.load_autoencoder("dct", device="gpu")
    for device in ("meta", "mps", "cuda:99"):
        with pytest.raises(wb.ConfigError, match="`device`"):
            wb.load_autoencoder("dct", device=device)
    with pytest.raises(wb.ConfigError, match="`dtype`"):
        wb.load_autoencoder("dct", dtype="float")
    with pytest.raises(wb.ConfigError, match="configuration of its own"):
        wb.load_autoencoder("diffusers:AutoencoderKLWan", "random", architecture={"scaling_factor": 9.0})
    with pytest.raises(wb.ConfigError, match="unknown setting width"):
        wb.load_autoencoder("video_dc_ae", "random", architecture={"width": (1,)})


def test_a_run_stands_for_its_newest_checkpoint_by_number_whatever_else_is_there(tmp_path):
    state = {"basis": torch.zeros(1)}
    for name in ("step-000100", "step-999999", "step-1000000", "step-notes"):
        (tmp_path / name).mkdir()
        if name != "step-notes":
            save_weights(tmp_path / name / "ema.safetensors", state, "dct", {})
    assert locate_weights(tmp_path).parent.name == "step-1000000"
    assert find_checkpoint("latest", tmp_path).name == "step-1000000"


def _behind(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def _in_places(state):
    """What other tools make of a state dict: what is saved, and the prefix that the one line names."""
    encoder = {name.replace("encoder.", "encoder._orig_mod.", 1): tensor for name, tensor in state.items()}
    training = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "args": argparse.Namespace(lr=1e-4)}
    training["rng"] = torch.ones(8)
    return {
        "module": (_behind("module.", state), "module."),
        "compiled": (_behind("_orig_mod.", state), None),
        "compiled parts": (encoder, None),
        "model": (_behind("model.", state), "model."),
        "vae": (_behind("vae.", state), "vae."),
        "ema": (_behind("ema.", state), "ema."),
        "nested": (_behind("module._orig_mod.model.", state), "module.model."),
        "containers": ({"model": state} | training, "model."),
        "ema alone": ({"ema": _behind("module.", state)} | training, "ema.module."),
        "lightning": ({"state_dict": _behind("model.", state)} | training, "state_dict.model."),
        "latent diffusion": ({"state_dict": state | {"loss.logvar": torch.ones(1)}}, "state_dict."),
    }


@pytest.mark.parametrize("place", _in_places({}))
def test_weights_of_other_tools_are_unwrapped_and_said_in_one_line(model, tmp_path, caplog, place):
    saved, prefix = _in_places(dict(model.state_dict()))[place]
    torch.save(saved, tmp_path / "a.pt")
    files = ["a.pt"]
    if all(isinstance(value, torch.Tensor) for value in saved.values()):
        save_file(saved, tmp_path / "a.safetensors")
        files.append("a.safetensors")
    for name in files:
        caplog.clear()
        assert same_weights(wb.load_autoencoder("video_dc_ae", tmp_path / name, architecture=SMALL), model)
        (line,) = caplog.messages
        assert name in line
        assert (f'behind the prefix "{prefix}"' in line) if prefix else ("without the names of wrappers" in line)
        assert ("left out" in line) == (place in ("containers", "ema alone", "lightning", "latent diffusion"))


def test_plain_weights_are_loaded_without_a_word(model, tmp_path, caplog):
    torch.save(model.state_dict(), tmp_path / "a.pt")
    wb.load_autoencoder("video_dc_ae", tmp_path / "a.pt", architecture=SMALL)
    assert not caplog.messages


def test_several_sets_of_weights_must_be_told_apart(model, tmp_path):
    state = dict(model.state_dict())
    other = {name: tensor + 1 for name, tensor in state.items()}
    path = tmp_path / "a.pt"
    torch.save({"model": state, "ema": _behind("module.", other)}, path)
    with pytest.raises(wb.WeightsError) as error:
        wb.load_autoencoder("video_dc_ae", path, architecture=SMALL)
    assert f"holds 2 sets of weights of this model; name one of them: {path}#ema.module, {path}#model" in str(
        error.value
    )
    assert same_weights(wb.load_autoencoder("video_dc_ae", f"{path}#model", architecture=SMALL), model)
    ema = wb.load_autoencoder("video_dc_ae", f"{path}#ema.module", architecture=SMALL)
    assert all(torch.equal(tensor, other[name]) for name, tensor in ema.state_dict().items())
    with pytest.raises(wb.WeightsError, match=r"no weights of this model behind 'average'; it has .*a\.pt#ema\.module"):
        wb.load_autoencoder("video_dc_ae", f"{path}#average", architecture=SMALL)
    torch.save(state | _behind("ema.", other), path)
    with pytest.raises(wb.WeightsError, match=r"a\.pt#, .*a\.pt#ema$"):
        wb.load_autoencoder("video_dc_ae", path, architecture=SMALL)
    assert same_weights(wb.load_autoencoder("video_dc_ae", f"{path}#", architecture=SMALL), model)
    torch.save(state | _behind("_orig_mod.", other), path)
    with pytest.raises(wb.WeightsError, match="twice"):
        wb.load_autoencoder("video_dc_ae", path, architecture=SMALL)


def test_a_larger_model_behind_a_prefix_is_not_cut_down(model, tmp_path):
    state = dict(model.state_dict())
    torch.save(_behind("module.", state | {"decoder.more.weight": torch.ones(1)}), tmp_path / "a.pt")
    with pytest.raises(wb.WeightsError, match=r'behind the prefix "module\."\).*: unexpected decoder\.more\.weight$'):
        wb.load_autoencoder("video_dc_ae", tmp_path / "a.pt", architecture=SMALL)


def _write_shards(folder, state, prefix=""):
    names = list(state)
    halves = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    folder.mkdir(exist_ok=True)
    for shard, held in halves.items():
        save_file({prefix + name: state[name] for name in held}, folder / shard)
    weight_map = {prefix + name: shard for shard, held in halves.items() for name in held}
    (folder / "m.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map


def test_shards_are_read_by_their_index_or_their_folder(model, tmp_path):
    _write_shards(tmp_path, dict(model.state_dict()), "vae.")
    for name in (tmp_path, tmp_path / "m.safetensors.index.json"):
        assert same_weights(wb.load_autoencoder("video_dc_ae", name, architecture=SMALL), model)


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "", 3])
def test_an_index_that_leaves_its_folder_is_refused_before_anything_is_read(model, tmp_path, shard):
    weight_map = _write_shards(tmp_path / "in", dict(model.state_dict()))
    weight_map[next(iter(weight_map))] = shard
    (tmp_path / "in" / "m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    save_file(dict(model.state_dict()), tmp_path / "a.safetensors")
    with pytest.raises(wb.WeightsError, match="no weight file in its own folder; nothing was read"):
        wb.load_autoencoder("video_dc_ae", tmp_path / "in", architecture=SMALL)


def test_shards_that_are_missing_or_hold_less_than_the_index_says_are_named(model, tmp_path):
    _write_shards(tmp_path, dict(model.state_dict()))
    save_file({"x": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(wb.WeightsError, match=r"is not in b\.safetensors"):
        wb.load_autoencoder("video_dc_ae", tmp_path, architecture=SMALL)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(wb.WeightsError, match=r"b\.safetensors"):
        wb.load_autoencoder("video_dc_ae", tmp_path, architecture=SMALL)
    (tmp_path / "m.safetensors.index.json").write_text("[]")
    with pytest.raises(wb.WeightsError, match="not an index"):
        wb.load_autoencoder("video_dc_ae", tmp_path, architecture=SMALL)


def test_a_folder_of_diffusers_gives_its_file_or_the_name_to_use(model, tmp_path):
    save_file(dict(model.state_dict()), tmp_path / "diffusion_pytorch_model.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    assert same_weights(wb.load_autoencoder("video_dc_ae", tmp_path, architecture=SMALL), model)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    save_file({"x": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(wb.WeightsError, match=f"it is of AutoencoderKLWan: use `model.name` diffusers:{tmp_path}"):
        wb.load_autoencoder("video_dc_ae", tmp_path, architecture=SMALL)


def test_a_folder_with_one_weight_file_stands_for_it_and_one_with_several_names_them(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(wb.WeightsError, match="not a checkpoint"):
        locate_weights(tmp_path)
    (tmp_path / "a.ckpt").touch()
    assert locate_weights(tmp_path).name == "a.ckpt"
    (tmp_path / "b.pt").touch()
    with pytest.raises(wb.WeightsError, match=r"several weight files; name one: a\.ckpt, b\.pt"):
        locate_weights(tmp_path)


def test_one_of_several_sets_keeps_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").touch()
    (tmp_path / "b#1.pt").touch()
    assert ModelRef("video_dc_ae", "a.pt#ema").absolute().weights == f"{tmp_path}/a.pt#ema"
    assert ModelRef("video_dc_ae", "b#1.pt").absolute().weights == f"{tmp_path}/b#1.pt"
    assert ModelRef("video_dc_ae", "org/repo/file").absolute().weights == "org/repo/file"


def test_written_weights_may_be_read_by_whom_other_files_may(tmp_path):
    """safetensors puts a private file of its own in the place of ours."""
    (tmp_path / "other").write_text("")
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, "dct", {})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
