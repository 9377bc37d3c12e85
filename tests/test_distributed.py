"""Several ranks by real torchrun with gloo; few runs, since each start takes long."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_runs import (
    ARCHITECTURE,
    STEPS,
    aligned_steps,
    distilled_steps,
    networks,
    run_steps,
    small_config,
    state_of,
)

from workbench.media.files import EXAMPLE_INDEX, EXAMPLES
from workbench.models.weights import checkpoints
from workbench.training.resume import not_exact
from workbench.training.state import load_state
from workbench.training.validation import Validator

ROOT = Path(__file__).parents[1]
# Two halves summed by all-reduce against one batch: rounding in float32, which AdamW's division makes visible soon.
TOLERANCE = {"rel": 2e-3, "abs": 2e-4}


# A rank that dies of a signal says where it was.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | ENVIRONMENT, cwd=ROOT, **pipes)


def torchrun(*words: str) -> subprocess.CompletedProcess:
    process = start(*words)
    try:
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def flags(**settings: object) -> list[str]:
    small = {"preset": "debug", "device": "cpu", "tensorboard": False, "bucket_config": '{"32px_ar1:1": {4: (1.0, 1)}}'}
    small |= {"model.architecture": ARCHITECTURE, "validation.clips": 1}
    settings = small | {name.replace("__", "."): value for name, value in settings.items()}
    return [str(word) for name, value in settings.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What `training_runs.on_ranks` left: results and checkpoints."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(str(ROOT / "tests" / "training_runs.py"), str(folder))
    assert done.returncode == 0, done.stderr
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


def test_two_ranks_align_as_one_process_on_the_same_global_batch(results, world, tmp_path):
    alone = aligned_steps(tmp_path / "vision", world)
    for expected, found in zip(alone, results["alignment"], strict=True):
        assert expected["alignment"] > 0
        assert expected["alignment_grad_norm"] > 0
        for name in expected.keys() - {"train_psnr"}:
            assert found[name] == pytest.approx(expected[name], **TOLERANCE), name


def test_two_ranks_distil_as_one_process_on_the_same_global_batch(results, world):
    for expected, found in zip(distilled_steps(world), results["distillation"], strict=True):
        assert expected["distillation"] > 0
        for name in expected.keys() - {"train_psnr"}:
            assert found[name] == pytest.approx(expected[name], **TOLERANCE), name


def test_batch_norm_takes_its_statistics_over_all_ranks(results, world):
    config = small_config("disc")
    nets = networks(config, world)
    (alone,), (found,) = run_steps(nets, config, world, 0, 1), results["batch-norm"]
    # One step: the norms of small batches amplify the rounding of another processor tenfold with every further one.
    for name in ("l1", "gen", "disc", "real_logits", "fake_logits", "grad_norm", "disc_grad_norm"):
        assert found[name] == pytest.approx(alone[name], **TOLERANCE), name
    assert isinstance(nets.discriminator.main[3], nn.BatchNorm3d)
    torch.testing.assert_close(
        torch.tensor(results["running-mean"]), nets.discriminator.main[3].running_mean, rtol=2e-3, atol=1e-5
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
            # Two ranks add in another order, and AdamW moves a weight whose gradient is all rounding by lr a step,
            # up or down: two steps part such weights by 4 lr at most.
            torch.testing.assert_close(found, expected[name], rtol=1e-2, atol=4 * config.lr, msg=name)
            assert (found - expected[name]).abs().mean() < config.lr / 4, name


def test_a_nan_on_one_rank_stops_the_update_on_all(results):
    assert results["nan-figures"]["l1"] == "nan"
    assert results["nan-changed"] == []


def test_sharded_training_validates_each_clip_once_and_saves(folder, world):
    """A validation pass runs forward only, after which FSDP2 keeps some parameters whole."""
    run = folder / "run"
    assert list(checkpoints(run)) == [1, 2]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_psnr" in line] == [0, 1, 2]
    # three clips on two ranks: the fourth place repeats the first and must not count
    config = small_config(validation__clips=3)
    alone = Validator(networks(config, world), config, world).run()
    assert {name: lines[0][name] for name in alone.figures} == pytest.approx(alone.figures, rel=1e-4)
    assert latents_of(run / "step-000001")["count"] == alone.latents.count


def latents_of(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "state.json").read_text())["latents"]


def index_of(folder: Path, *names: str) -> Path:
    """An index of copies of a shipped clip; those called bad are no videos."""
    header, *rows = EXAMPLE_INDEX.read_text().splitlines()
    row = next(row for row in rows if "bunny.mp4" in row)
    for name in names:
        if name.startswith("bad"):
            (folder / name).write_bytes(b"not a video")
        else:
            shutil.copy(EXAMPLES / "bunny.mp4", folder / name)
    path = folder / f"{names[0]}.csv"
    path.write_text("\n".join([header, *(row.replace("bunny.mp4", str(folder / name)) for name in names)]) + "\n")
    return path


def errors_in(text: str) -> set[str]:
    """The different error lines; torchrun ends the other rank once one has failed, perhaps before it says its line."""
    assert "Traceback" not in text.split("failed (exitcode")[0]  # what follows is torchrun's own
    return {line.split("train.py: error: ")[1] for line in text.splitlines() if "train.py: error: " in line}


def test_clips_that_only_one_rank_cannot_read_end_all_ranks_with_its_error(tmp_path):
    """Each rank has one clip of an epoch, and gives up at the first bad one."""
    data = {"dataset__data_path": index_of(tmp_path, "bad.mp4", "good.mp4"), "dataset__max_bad_in_a_row": 1}
    valid = index_of(tmp_path, "other.mp4")
    done = torchrun(str(ROOT / "train.py"), *flags(save_dir=tmp_path / "run", validation__data_path=valid, **data))
    (found,) = errors_in(done.stderr)
    assert "bad.mp4" in found
    assert "exitcode  : 2" in done.stderr
    assert 'Traceback (most recent call last):\n  File "/' not in done.stderr.split("torch/distributed/run.py")[0]


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_rank_ends_all_with_one_line_and_no_half_checkpoint(tmp_path):
    script = tmp_path / "small_files.py"
    script.write_text(
        "import os, resource\n"
        "import train\n"
        "from workbench.cli import main\n"
        "if os.environ['RANK'] == '0':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "main('train.py', train.COMMAND)\n"
    )
    done = torchrun(str(script), *flags(save_dir=tmp_path / "run", max_steps=1))
    (found,) = errors_in(done.stderr)
    assert "step-000001: cannot be written" in found
    assert "exitcode  : 2" in done.stderr
    assert not [path for path in (tmp_path / "run").iterdir() if "step" in path.name]


def test_sigterm_twice_to_the_ranks_and_their_decode_workers_saves_and_exits_143(tmp_path):
    endless = {"max_steps": 100_000, "ckpt_every": 2, "eval_every": 100_000}
    words = flags(save_dir=tmp_path, parallel="fsdp", dataset__num_workers=1, **endless)
    process = start(str(ROOT / "train.py"), *words)
    try:
        while not checkpoints(tmp_path):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for _ in range(2):
            for rank in ranks:
                os.killpg(int(rank), signal.SIGTERM)  # torchrun makes each rank the leader of its group
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    root_cause = errors[errors.index("Root Cause") :]  # the other rank may be ended by torchrun after that
    assert "exitcode  : 143" in root_cause, errors
    assert "SIGTERM: saving step" in output + errors
    assert "decode worker" not in errors


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
    words = flags(max_steps=5, ckpt_every=2, eval_every=5, save_dir=tmp_path / "run")
    done = torchrun("--max_restarts", "1", str(script), str(tmp_path / "died"), *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "died").exists()
    assert "resumed from" in done.stdout + done.stderr
    assert list(checkpoints(tmp_path / "run")) == [2, 4, 5]
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
