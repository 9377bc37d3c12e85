"""Several ranks by real torchrun with gloo; few runs, since each start takes long."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_runs import STEPS, networks, run_steps, small_config, state_of

from workbench.training.checkpoint import checkpoints
from workbench.training.distributed import World, process_group
from workbench.training.state import load_state, not_exact

ROOT = Path(__file__).parents[1]
# Two halves summed by all-reduce against one batch: rounding in float32, which AdamW's division makes visible soon.
TOLERANCE = {"rel": 2e-3, "abs": 2e-4}


def torchrun(*words: str, **options: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400, **options)


@pytest.fixture(scope="module")
def world() -> World:
    with process_group("cpu") as world:
        yield world


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What `training_runs.on_ranks` left: results and checkpoints."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(str(ROOT / "tests" / "training_runs.py"), str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("stage", ["ae", "disc"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_process_on_the_same_global_batch(results, world, stage, parallel):
    config = small_config(stage, discriminator__norm="group")
    alone = run_steps(networks(config, world), config, world, 0, STEPS)
    for expected, found in zip(alone, results[f"{stage}-{parallel}"], strict=True):
        for name in expected.keys() - {"train_psnr"}:  # a mean of logarithms
            assert found[name] == pytest.approx(expected[name], **TOLERANCE), name


def test_batch_norm_takes_its_statistics_over_all_ranks(results, world):
    config = small_config("disc")
    nets = networks(config, world)
    alone = run_steps(nets, config, world, 0, STEPS)
    for expected, found in zip(alone, results["batch-norm"], strict=True):
        for name in ("l1", "gen", "disc", "real_logits", "fake_logits"):
            assert found[name] == pytest.approx(expected[name], rel=1e-2, abs=5e-3), name
    assert isinstance(nets.discriminator.main[3], nn.BatchNorm3d)
    torch.testing.assert_close(
        torch.tensor(results["running-mean"]), nets.discriminator.main[3].running_mean, rtol=1e-2, atol=1e-4
    )


@pytest.mark.parametrize("key", ["ae-ddp", "ae-fsdp", "disc-ddp", "disc-fsdp"])
def test_two_ranks_resume_bit_equal(results, key):
    assert results[f"{key}-differences"] == []
    assert results[f"{key}-resumed-figures-equal"]


@pytest.mark.parametrize("key", ["ae-fsdp", "disc-ddp"])
def test_one_rank_resumes_what_two_saved(folder, world, key):
    config = small_config(key.split("-")[0], discriminator__norm="group")
    nets = networks(dataclasses.replace(config, seed=7), world)
    plain = load_state(folder / key / f"step-{STEPS:06d}", nets, config, world)
    assert "resumed on 1 ranks from 2" in not_exact(plain, world)
    run_steps(nets, config, world, STEPS, STEPS + 2)
    expected = load_file(folder / key / "expected.safetensors")
    for name, found in state_of(nets).items():
        if name.startswith(("model.", "ema.")):
            torch.testing.assert_close(found, expected[name], rtol=1e-2, atol=1e-3, msg=name)


def test_a_nan_on_one_rank_stops_the_update_on_all(results):
    assert results["nan-figures"]["l1"] == "nan"
    assert results["nan-changed"] == []


def test_sharded_training_validates_and_saves(tmp_path):
    """A validation pass runs forward only, after which FSDP2 keeps some parameters whole."""
    run = tmp_path / "fsdp"
    words = ["--preset", "debug", "--parallel", "fsdp", "--device", "cpu", "--max_steps", "2", "--save_dir", str(run)]
    done = torchrun(str(ROOT / "train.py"), *words, "--eval_every", "1", "--ckpt_every", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(checkpoints(run)) == [1, 2]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "val_psnr" in line] == [1, 2]


@pytest.mark.slow
def test_a_rank_that_dies_is_restarted_and_the_run_resumes(tmp_path):
    """The second rank kills itself once, at step 3; the run goes on from the checkpoint of step 2."""
    script = tmp_path / "dies_once.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "import train\n"
        "from workbench.cli import main\n"
        "from workbench.training import trainer\n"
        "take, mark = trainer.train_step, Path(sys.argv.pop(1))\n"
        "def dies(nets, batches, step, config, world):\n"
        "    if step == 3 and world.rank == 1 and not mark.exists():\n"
        "        mark.touch()\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return take(nets, batches, step, config, world)\n"
        "trainer.train_step = dies\n"
        "main('train.py', train.COMMAND)\n"
    )
    flags = {"preset": "debug", "max_steps": 5, "ckpt_every": 2, "eval_every": 5, "device": "cpu"}
    flags["save_dir"] = tmp_path / "run"
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = torchrun("--max_restarts", "1", str(script), str(tmp_path / "died"), *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "died").exists()
    assert "resumed from" in done.stdout + done.stderr
    assert list(checkpoints(tmp_path / "run")) == [2, 4, 5]
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
