"""Whole runs in this process, on the shipped clips. Ranks and kills of processes are in test_distributed.py."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import ARCHITECTURE, SMALL_DECODER, small_config

from workbench.config import override, to_json
from workbench.data.loader import ClipLoader
from workbench.errors import ConfigError, DataError, WeightsError, WorkbenchError
from workbench.media.files import EXAMPLE_INDEX, EXAMPLES
from workbench.models.registry import architecture_of, load_autoencoder
from workbench.models.weights import checkpoints
from workbench.ranks import process_group
from workbench.training import checkpoint, trainer
from workbench.training.checkpoint import CheckpointError
from workbench.training.config import TrainConfig
from workbench.training.resume import changed_settings, start_from
from workbench.training.tracking import JsonLines, Tracker, collapse_alarm
from workbench.training.trainer import NonFiniteError, train


def files_of(checkpoint: Path) -> dict[str, bytes]:
    """Contents by name, without the time stamps and paths that a checkpoint may hold."""
    names = ["model.safetensors", "ema.safetensors", "training/__0_0.distcp"]
    return {name: (checkpoint / name).read_bytes() for name in names}


@pytest.fixture
def batches_seen(monkeypatch) -> list[tuple[str, ...]]:
    """Paths of every batch that a loader of training hands out (batches of one: validation's are not told apart)."""
    seen = []
    take = ClipLoader.__next__

    def note(self: ClipLoader):
        batch = take(self)
        seen.append((*batch.paths, batch.pixels.sum().item()))
        return batch

    monkeypatch.setattr(ClipLoader, "__next__", note)
    return seen


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("ae", {"optimizer": "muon", "warmup_steps": 5}),
        ("ae", {"model.freeze": "encoder", "lr_schedule": "cosine", "warmup_steps": 1}),
        ("disc", {"warmup_steps": 5}),
        ("decoder", {"model.architecture": ARCHITECTURE | SMALL_DECODER, "distil_config.weight": 1.0}),
    ],
    ids=["muon", "frozen-cosine", "disc", "decoder"],
)
def test_resume_is_bit_equal(tmp_path, stage, changes, batches_seen):
    """2 + 2 steps against 4: weights, averages, both optimisers, discriminator, random state and batches."""
    settings = {"eval_every": 100, "ckpt_every": 2, "grad_accumulation": 2, "image_probability": 0.5}
    config = small_config(stage, **settings, bucket_config={"32px_ar1:1": {4: (0.5, 1), 8: (1.0, 2)}})
    config = override(config, {"dataset.random_crop": True, "max_steps": 4, **changes})
    assert train(dataclasses.replace(config, save_dir=str(tmp_path / "unbroken"))) == 0
    unbroken = batches_seen[:]
    batches_seen.clear()
    shutil.copytree(tmp_path / "unbroken" / "step-000002", tmp_path / "broken" / "step-000002")
    resumed = dataclasses.replace(config, save_dir=str(tmp_path / "broken"), resume="latest", seed=42)
    assert train(resumed) == 0
    assert batches_seen == unbroken[5:]  # the unbroken run begins with a validation pass, of one clip
    expected = files_of(tmp_path / "unbroken" / "step-000004")
    found = files_of(tmp_path / "broken" / "step-000004")
    assert [name for name in expected if expected[name] != found[name]] == []
    states = [json.loads((tmp_path / run / "step-000004" / "state.json").read_text()) for run in ("unbroken", "broken")]
    for state in states:
        state["tracker"] = {k: v for k, v in state["tracker"].items() if not k.endswith("_s")}  # seconds
    assert states[0] == states[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of stage ae: 4 steps, checkpoints at 2 and 4, validation at 0 and 4."""
    folder = tmp_path_factory.mktemp("run") / "ae"
    config = small_config("ae", save_dir=str(folder), max_steps=4, ckpt_every=2, eval_every=4)
    config = override(config, {"tensorboard": True, "validation.clips": 3})
    assert train(config) == 0
    return folder


def test_a_checkpoint_opens_as_an_autoencoder(run):
    x = torch.rand(1, 3, 4, 32, 32)
    averaged = load_autoencoder("video_dc_ae", weights=run / "step-000004")
    assert load_autoencoder("video_dc_ae", weights=run).encode(x).equal(averaged.encode(x))
    plain = load_autoencoder("video_dc_ae", weights=run / "step-000004" / "model.safetensors")
    assert not plain.encode(x).equal(averaged.encode(x))
    assert {t.dtype for t in load_file(run / "step-000004" / "model.safetensors").values()} == {torch.float32}


def test_figures_samples_and_configuration_are_kept_with_the_run(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4, 4]
    assert {"l1", "nll", "grad_norm", "step_s", "wait_s"} <= set(lines[1])
    assert {"val_psnr", "val_ssim"} <= set(lines[0]) & set(lines[3])
    assert {line["total"] for line in lines} == {4}
    assert (run / "samples" / "step-000004.mp4").stat().st_size > 0
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert {event.step for event in events.Images("original | reconstruction")} == {0, 4}
    assert {event.step for event in events.Scalars("val_psnr")} == {0, 4}
    assert json.loads((run / "step-000004" / "config.json").read_text())["max_steps"] == 4


def test_statistics_of_the_latents_are_stored_with_the_checkpoint(run):
    latents = json.loads((run / "step-000004" / "state.json").read_text())["latents"]
    assert latents["step"] == 4
    assert latents["count"] == 3 * 16  # 1x4x4 latents of each of three clips, 4x32x32 each
    assert len(latents["mean"]) == len(latents["std"]) == 16
    assert all(std > 0.0 for std in latents["std"])


def test_stage_disc_starts_from_a_checkpoint_of_stage_ae(run, tmp_path):
    config = small_config("disc", save_dir=str(tmp_path), max_steps=1, model__from_pretrained=str(run), lr=0.0)
    config = override(config, {"discriminator.norm": "group"})
    assert train(config) == 0
    assert load_file(tmp_path / "step-000001" / "model.safetensors")["decoder.project_out.op_list.2.conv.weight"].equal(
        load_file(run / "step-000004" / "ema.safetensors")["decoder.project_out.op_list.2.conv.weight"]
    )


def test_stage_decoder_gives_a_whole_model_with_the_latents_of_the_one_that_it_is_for(run, tmp_path):
    settings = {"model__architecture": SMALL_DECODER, "distil_config__weight": 1.0, "validation__clips": 1}
    config = small_config("decoder", save_dir=str(tmp_path), max_steps=1, model__from_pretrained=str(run), **settings)
    assert train(config) == 0
    teacher, student = (load_autoencoder("video_dc_ae", folder) for folder in (run, tmp_path))
    given = teacher.encoder.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in student.encoder.state_dict().items())
    x = torch.rand(1, 3, 4, 32, 32)
    assert student.decode(teacher.encode(x), 4).shape == x.shape
    assert architecture_of(student)["decoder_widths"] == [*SMALL_DECODER["decoder_widths"]]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, CheckpointError, "holds a run already; add `resume` latest"),
        ({"resume": "RUN/step-000003"}, CheckpointError, "no such checkpoint"),
        ({"resume": "RUN/step-000002"}, CheckpointError, "has later ones .step-000004"),
        ({"resume": "latest", "stage": "disc"}, CheckpointError, "of stage ae; start stage disc"),
        ({"resume": "RUN/step-000004", "save_dir": "NEW", "model.architecture": {}}, CheckpointError, "architecture"),
        ({"resume": "latest", "save_dir": "NEW"}, CheckpointError, "holds no checkpoint"),
        ({"stage": "disc", "save_dir": "NEW", "model.from_pretrained": None}, ConfigError, "starts from a checkpoint"),
        ({"save_dir": "NEW", "model.name": "dct", "model.architecture": {}}, ConfigError, "no weights to train"),
        ({"save_dir": "NEW", "precision": "bfloat16"}, ConfigError, "not reliable in it on a CPU"),
        ({"save_dir": "NEW", "dataset.data_path": ""}, ConfigError, "`dataset.data_path`"),
        ({"save_dir": "NEW", "validation.data_path": "NEW/none.csv"}, DataError, "none.csv"),
        ({"save_dir": "NEW", "vae_loss_config.kl_loss_weight": 0.1}, ConfigError, "no posterior"),
    ],
)
def test_what_cannot_be_run_is_refused_and_changes_nothing(run, tmp_path, settings, error, message):
    before = sorted(path.name for path in run.iterdir())
    places = {"RUN": str(run), "NEW": str(tmp_path / "new")}
    for name, value in settings.items():
        for place, path in places.items():
            settings[name] = value = value.replace(place, path) if isinstance(value, str) else value
    small = {"model.architecture": {"widths": (8, 8, 32, 32, 32, 32), "latent_channels": 32}}
    if settings.get("model.architecture") == {} and "resume" in settings:
        settings |= small | {"model.architecture": {**small["model.architecture"], "encoder_depths": (0,) * 6}}
    config = override(small_config("ae", save_dir=str(run), max_steps=8), settings)
    with pytest.raises(error, match=message):
        train(config)
    assert sorted(path.name for path in run.iterdir()) == before
    assert not checkpoints(tmp_path / "new")


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: shutil.rmtree(step / "training"),
        lambda step: (step / "training" / ".metadata").write_bytes(b"?"),
        lambda step: os.truncate(step / "training" / "__0_0.distcp", 1000),
        lambda step: (step / "state.json").write_text("{}"),
        lambda step: os.truncate(step / "model.safetensors", 1000),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(run, tmp_path, damage):
    step = tmp_path / "run" / "step-000004"
    shutil.copytree(run / step.name, step)
    damage(step)
    with pytest.raises(WorkbenchError, match=r"step-000004") as error:
        train(small_config("ae", save_dir=str(tmp_path / "run"), max_steps=8, resume="latest"))
    assert "\n" not in str(error.value)


def test_a_restart_by_torchrun_goes_on_with_its_own_run_and_never_with_a_refused_one(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "run")
    config = small_config("ae", save_dir=str(tmp_path / "run"))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert start_from(config) == tmp_path / "run" / "step-000004"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another launch")
    with pytest.raises(CheckpointError, match="holds a run already"):
        start_from(config)


def test_a_folder_where_another_run_is_training_is_refused_and_left_alone(run, tmp_path):
    unfinished = run / ".step-000009.tmp"
    unfinished.mkdir()
    with process_group("cpu") as world, checkpoint.run_lock(run, world):
        with pytest.raises(CheckpointError, match="another process trains there"), checkpoint.run_lock(run, world):
            pytest.fail("taken twice")
        assert unfinished.is_dir()
    unfinished.rmdir()
    with pytest.raises(CheckpointError, match="cannot be written to"):
        train(small_config("ae", save_dir="/proc/none"))


def test_lpips_without_its_backbone_is_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    config = small_config("ae", save_dir=str(tmp_path / "run"), vae_loss_config__perceptual_loss_weight=0.5)
    with pytest.raises(WeightsError, match=r"`vae_loss_config.perceptual_loss_weight` 0.5: .*fetch lpips brings it"):
        train(config)
    assert not list((tmp_path / "run").glob("[!.]*"))


def at_step(monkeypatch, step: int, action) -> None:
    """Let `action()` happen in the middle of a step."""
    take = trainer.train_step

    def interrupted(nets, batches, number, config, world):
        if number == step:
            action(batches)
        return take(nets, batches, number, config, world)

    monkeypatch.setattr(trainer, "train_step", interrupted)


def test_sigterm_twice_finishes_the_step_saves_and_exits_with_its_status(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    at_step(monkeypatch, 1, lambda _: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)])
    assert train(small_config("ae", save_dir=str(tmp_path), max_steps=9)) == 143
    assert list(checkpoints(tmp_path)) == [2]
    assert signal.getsignal(signal.SIGTERM) == handler


def test_ctrl_c_finishes_the_step_saves_and_exits_with_its_status(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    at_step(monkeypatch, 1, lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert train(small_config("ae", save_dir=str(tmp_path), max_steps=9)) == 130
    assert list(checkpoints(tmp_path)) == [2]
    assert signal.getsignal(signal.SIGINT) == handler


def test_ctrl_c_twice_stops_at_once_without_saving(tmp_path, monkeypatch):
    at_step(monkeypatch, 1, lambda _: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        train(small_config("ae", save_dir=str(tmp_path), max_steps=9))
    assert not checkpoints(tmp_path)


def test_settings_that_changed_are_told_on_resume(run, tmp_path, capsys):
    shutil.copytree(run / "step-000002", tmp_path / "step-000002")
    config = small_config(
        "ae", save_dir=str(tmp_path), max_steps=3, resume="latest", lr=5e-4, dataset__random_crop=True
    )
    assert train(config) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if "settings that changed" in line)
    assert "lr 0.001 -> 0.0005" in told
    assert "dataset.random_crop False -> True" in told
    assert "seed" not in told


def test_the_discriminator_cannot_change_within_a_run(tmp_path):
    checkpoint = tmp_path / "step-000002"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(to_json(small_config("disc")))
    with pytest.raises(CheckpointError, match=r"discriminator.channels 16 -> 32: an architecture cannot change"):
        changed_settings(checkpoint, small_config("disc", discriminator__channels=32))


def test_the_optimiser_cannot_change_within_a_run(tmp_path):
    checkpoint = tmp_path / "step-000002"
    checkpoint.mkdir()
    old = json.loads(to_json(small_config("ae")))
    del old["optimizer"]  # as older versions wrote it, which had AdamW only
    (checkpoint / "config.json").write_text(json.dumps(old))
    assert changed_settings(checkpoint, small_config("ae")) == []
    with pytest.raises(CheckpointError, match="optimizer adamw -> muon: an optimiser cannot change"):
        changed_settings(checkpoint, small_config("ae", optimizer="muon"))


def test_what_is_frozen_cannot_change_within_a_run(tmp_path):
    (tmp_path / "config.json").write_text(to_json(small_config("ae")))
    with pytest.raises(CheckpointError, match=r"model.freeze None -> encoder: what is trained cannot change"):
        changed_settings(tmp_path, small_config("ae", model__freeze="encoder"))


class Payload:
    """What a pickle can do to who opens it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self._mark),)


def test_code_in_a_checkpoint_is_not_run(run, tmp_path):
    step = tmp_path / "run" / "step-000004"
    shutil.copytree(run / step.name, step)
    (step / "training" / ".metadata").write_bytes(pickle.dumps(Payload(tmp_path / "mark")))
    with pytest.raises(CheckpointError, match=r"damaged .*mkdir, which is no part of a tensor; not run"):
        train(small_config("ae", save_dir=str(tmp_path / "run"), max_steps=8, resume="latest"))
    assert not (tmp_path / "mark").exists()


def spoil(batches: list[torch.Tensor]) -> None:
    batches[0][..., 0, 0] = float("nan")


def test_nan_stops_the_run_with_the_last_checkpoint_intact(tmp_path, monkeypatch):
    at_step(monkeypatch, 3, spoil)
    with pytest.raises(NonFiniteError, match=r"step 4: not finite: .*l1.*last checkpoint: .*step-000002"):
        train(small_config("ae", save_dir=str(tmp_path), max_steps=9, ckpt_every=2))
    assert list(checkpoints(tmp_path)) == [2]
    assert all(t.isfinite().all() for t in load_file(tmp_path / "step-000002" / "model.safetensors").values())


def test_nan_is_left_out_and_counted_if_asked(tmp_path, monkeypatch):
    at_step(monkeypatch, 1, spoil)
    assert train(small_config("ae", save_dir=str(tmp_path), max_steps=3, skip_nonfinite=1)) == 0
    assert json.loads((tmp_path / "step-000003" / "state.json").read_text())["skipped"] == 1
    assert all(t.isfinite().all() for t in load_file(tmp_path / "step-000003" / "model.safetensors").values())


def test_a_bad_clip_is_skipped_named_and_counted_across_a_resume(tmp_path, caplog, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    rows = EXAMPLE_INDEX.read_text().replace('"bunny', f'"{EXAMPLES}/bunny').splitlines()
    good = next(row for row in rows if "bunny" in row)
    bad = good.replace(f"{EXAMPLES}/bunny.mp4", str(tmp_path / "broken.mp4"))
    (tmp_path / "data.csv").write_text("\n".join([rows[0], good, bad]) + "\n")
    config = small_config("ae", save_dir=str(tmp_path / "run"), max_steps=4)
    config = override(config, {"dataset.data_path": str(tmp_path / "data.csv")})
    assert train(config) == 0
    assert "broken.mp4" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    totals = [line["bad_clips"] for line in lines if "bad_clips" in line]
    assert totals == sorted(set(totals))
    saved = json.loads((tmp_path / "run" / "step-000004" / "state.json").read_text())["bad_clips"]
    assert saved == totals[-1] >= 1
    assert f"{saved} times a clip could not be read" in capsys.readouterr().out
    resumed = dataclasses.replace(config, max_steps=6, resume="latest")
    assert train(resumed) == 0
    assert json.loads((tmp_path / "run" / "step-000006" / "state.json").read_text())["bad_clips"] > saved


def test_metrics_after_the_resumed_step_are_dropped(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "step-000004")
    config = small_config("ae", save_dir=str(folder), max_steps=4, ckpt_every=2, eval_every=4, resume="latest")
    assert train(config) == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4, 4]


def test_the_learning_rate_of_the_log_is_the_one_that_the_step_took(tmp_path):
    config = small_config("ae", log_every=1, lr=1e-3, warmup_steps=4)
    with process_group("cpu") as world:
        tracker = Tracker(tmp_path, config, world, 0, 10)
        for step in (1, 2, 3, 4, 5):
            tracker.add(step, {"nll": 0.5})
        tracker.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_a_damaged_line_of_the_log_costs_only_itself(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"oops"}\n{"step": 4')
    JsonLines(tmp_path / "run", 4, 4).close()
    assert log.read_text() == whole


def test_fewer_steps_than_the_checkpoint_has_are_refused(run, tmp_path):
    config = small_config("ae", save_dir=str(tmp_path / "new"), max_steps=3, resume=str(run / "step-000004"))
    with pytest.raises(ConfigError, match="`max_steps` 3: the checkpoint is of step 4 already"):
        train(config)


def test_a_discriminator_that_has_collapsed_raises_an_alarm():
    healthy = {"real_logits": 0.3, "fake_logits": -0.2, "real_accuracy": 0.7, "fake_accuracy": 0.6}
    assert collapse_alarm(healthy) is None
    assert collapse_alarm({"l1": 0.1}) is None  # stage ae
    wins = {"real_logits": 4.0, "fake_logits": -4.0, "real_accuracy": 1.0, "fake_accuracy": 1.0}
    assert "wins everywhere" in collapse_alarm(wins)
    assert "does not tell" in collapse_alarm(healthy | {"fake_logits": 0.3})
    assert "huge" in collapse_alarm(healthy | {"real_logits": 500.0})


def test_an_alarm_is_said_and_the_bar_shows_what_a_watcher_needs(tmp_path, capsys):
    config = small_config("disc", log_every=1, preset="debug_disc")
    with process_group("cpu") as world:
        tracker = Tracker(tmp_path, config, world, 0, 10)
        figures = dict.fromkeys(("nll", "gen", "disc", "train_psnr", "grad_norm", "step_s", "wait_s"), 0.5)
        logits = {"real_logits": 9.0, "fake_logits": -9.0, "real_accuracy": 1.0, "fake_accuracy": 1.0}
        tracker.add(1, figures | logits)
        tracker.close()
    shown = capsys.readouterr()
    assert "step 1: ALARM: the discriminator wins everywhere" in shown.out
    for name in ("nll 0.5", "disc 0.5", "PSNR 0.50", "0.5 s/step", " GB"):
        assert name in shown.err
    assert max(map(len, re.split(r"[\r\n]", shown.err))) <= 100
    assert re.search(r"1/10 \[\d\d:\d\d<\d\d:\d\d", shown.err)  # time taken < time left


def test_wandb_that_is_not_installed_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        train(small_config("ae", save_dir=str(tmp_path), wandb=True))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"model.compile": True}, {"model.channels_last": True}])
def test_compile_and_channels_last_train_the_same(tmp_path, settings):
    plain = small_config("ae", max_steps=2, image_probability=0.0)
    shallow = {"widths": (16, 16, 32), "encoder_depths": (1, 1, 1), "decoder_depths": (1, 1, 1), "latent_channels": 16}
    plain = override(plain, {"model.architecture": {**shallow, "attention_stages": 1}})
    finals = []
    for name, config in (("plain", plain), ("other", override(plain, settings))):
        assert train(dataclasses.replace(config, save_dir=str(tmp_path / name))) == 0
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        finals.append(next(line["l1"] for line in lines if "l1" in line))
    assert finals[0] == pytest.approx(finals[1], rel=1e-3)


def test_defaults_are_the_published_recipe():
    config = TrainConfig()
    assert (config.lr, config.betas, config.eps, config.weight_decay) == (5e-5, (0.9, 0.98), 1e-8, 0.0)
    assert (config.discriminator.lr, config.gen_loss_config.disc_weight, config.ema_decay) == (1e-4, 0.05, 0.99)
    assert (config.vae_loss_config.perceptual_loss_weight, config.vae_loss_config.kl_loss_weight) == (0.5, 0.0)
    assert (config.ckpt_every, config.keep_n_latest, config.epochs, config.seed) == (3000, 50, 100, 42)
    assert (config.grad_clip, config.warmup_steps, config.image_probability, config.log_every) == (1.0, 0, 0.2, 10)
