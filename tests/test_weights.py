"""Weights: found, read without running code, refused with the first mismatches, written so that they stand alone."""

import pickle
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file
from small_models import ARCHITECTURES, small_model

import workbench as wb
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
