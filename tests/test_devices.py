"""What can break on a GPU alone, each body on the device that is asked for: `-m gpu` on CUDA, `-m slow` on the CPU.

Bounds between devices: cuDNN sums convolutions in another order than oneDNN, about 1e-6 of a sum in float32, which the
tens of layers of these models bring to 1e-5 of their output; bfloat16 keeps 8 bits, 4e-3 a value. What two runs on one
GPU may differ by has the same reason, as some backward kernels add in an order that changes.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from clips import moving_video, write_clip
from reference_weights import relative_error
from safetensors.torch import load_file
from small_models import small_model
from small_vision import write_dinov2
from torch.nn.parallel import DistributedDataParallel
from training_runs import networks, run_steps, small_config

import workbench as wb
from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.data.loader import ClipLoader
from workbench.evaluate.clip import evaluate_clip
from workbench.jobs.choices import Choices
from workbench.jobs.reconstruct import reconstruct_job
from workbench.media.files import EXAMPLE_INDEX, EXAMPLES
from workbench.media.source import open_clip
from workbench.metrics.lpips import load_lpips
from workbench.models.ref import ModelRef
from workbench.ranks import process_group
from workbench.steps import drain
from workbench.training.config import LatentLossConfig
from workbench.training.trainer import Trainer, train

pytestmark = pytest.mark.usefixtures("exact_float32")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
FLOAT32 = 1e-4
"""Of the norm of a result: ten times what the order of sums does to it."""


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    return request.param


@pytest.fixture
def random_lpips(monkeypatch) -> None:
    """LPIPS with random convolutions, which is as large and as fast as the real one."""
    monkeypatch.setattr("workbench.training.build.load_lpips", partial(load_lpips, random_backbone=True))


@pytest.fixture
def vision(tmp_path) -> dict[str, object]:
    """Settings of a run whose latents are aligned with a small vision network."""
    (tmp_path / "vision").mkdir()
    network = str(write_dinov2(tmp_path / "vision" / "model.safetensors"))
    return {"latent_loss_config__alignment": 0.5, "alignment_config__network": network}


def figures(device: str, **settings: object) -> list[dict[str, float]]:
    """Losses and norms of two steps of a small run in float32; every run starts from the same weights."""
    config = small_config(device=device, precision="float32", discriminator__norm="group", **settings)
    with process_group(device) as world:
        return run_steps(networks(config, world), config, world, 0, 2)


def assert_near(found: list[dict[str, float]], expected: list[dict[str, float]], bound: float = 1e-3) -> None:
    """Losses agree; of the second step less so, as AdamW's first update follows the sign of every gradient."""
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=bound * (1 + 20 * step), abs=bound), (step, name)


# Training


@pytest.mark.parametrize(("stage", "aligned"), [("ae", False), ("disc", False), ("ae", True)])
def test_a_run_trains_saves_and_resumes(device, stage, aligned, tmp_path, random_lpips, vision):
    """Both stages with the default precision of the device (bfloat16 autocast on a GPU), LPIPS, averages, checkpoints;
    and latents aligned with a vision network.

    Resumed weights are those of the unbroken run: bit by bit on a CPU. On a GPU gradients differ by rounding, and AdamW
    moves a weight by at most about lr a step, so two more steps part two weights by 4 lr at most, far less on average.
    """
    settings = {"vae_loss_config__perceptual_loss_weight": 0.5, "ckpt_every": 2, "discriminator__norm": "group"}
    config = small_config(stage, device=device, **settings, **(vision if aligned else {}))
    unbroken = dataclasses.replace(config, save_dir=str(tmp_path / "unbroken"), max_steps=4)
    assert train(unbroken) == 0
    shutil.copytree(tmp_path / "unbroken" / "step-000002", tmp_path / "resumed" / "step-000002")
    assert train(dataclasses.replace(unbroken, save_dir=str(tmp_path / "resumed"), resume="latest")) == 0
    for name in ("model", "ema"):
        expected, found = (
            load_file(tmp_path / run / "step-000004" / f"{name}.safetensors") for run in ("unbroken", "resumed")
        )
        differences = [(found[key] - expected[key]).abs() for key in expected]
        assert max(map(torch.max, differences)) <= (0 if device == "cpu" else 4 * config.lr)
        assert torch.cat([part.flatten() for part in differences]).mean() <= (0 if device == "cpu" else config.lr / 4)
    lines = [json.loads(line) for line in (tmp_path / "unbroken" / "metrics.jsonl").read_text().splitlines()]
    expected = (
        {"disc", "adaptive_weight"} if stage == "disc" else {"alignment", "alignment_weight"} if aligned else set()
    )
    assert {"lpips", "val_psnr"} | expected <= set().union(*lines)
    assert all(value is not None for line in lines for value in line.values())
    ae = wb.load_autoencoder("video_dc_ae", tmp_path / "unbroken", device=device)
    assert torch.isfinite(ae.encode(torch.zeros(1, 3, 4, 32, 32))).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"parallel": "fsdp"},
        {"grad_checkpoint": True, "model__disc_off_grad_ckpt": True},
        {"model__channels_last": True},
    ],
    ids=["fsdp", "checkpointing", "channels-last"],
)
@pytest.mark.parametrize("stage", ["ae", "disc"])
def test_ways_of_training_give_the_figures_of_the_plain_one(device, stage, settings):
    plain = figures(device, stage=stage)
    assert_near(figures(device, stage=stage, **settings), plain)


def test_a_compiled_model_gives_the_figures_of_the_plain_one(device):
    """Shallow: a compiler takes minutes for the whole on a CPU."""
    shallow = {"widths": (16, 16, 32), "encoder_depths": (1, 1, 1), "decoder_depths": (1, 1, 1), "latent_channels": 16}
    settings = {"model__architecture": {**shallow, "attention_stages": 1}}
    torch.compiler.reset()
    assert_near(figures(device, model__compile=True, **settings), figures(device, **settings))


@pytest.mark.parametrize("stage", ["ae", "disc"])
def test_training_on_the_device_gives_the_figures_of_the_cpu(device, stage):
    assert_near(figures(device, stage=stage), figures("cpu", stage=stage))


def test_losses_on_latents_give_the_figures_of_the_cpu(device, vision):
    """All of them at once: what they draw comes from the CPU's generator on either device."""
    names = [field.name for field in dataclasses.fields(LatentLossConfig) if field.name != "alignment"]
    settings = {f"latent_loss_config__{name}": 0.1 for name in names} | vision
    found = figures(device, **settings)
    assert {*names, "alignment", "alignment_weight"} <= found[0].keys()
    assert_near(found, figures("cpu", **settings))


def test_ddp_of_one_rank_gives_the_figures_of_the_model_alone(device):
    """Over NCCL on a GPU: a group of one is not wrapped by itself, so it is here."""
    config = small_config("disc", device=device, precision="float32", discriminator__norm="group")
    with process_group(device) as world:
        nets = networks(config, world)
        ids = [world.device] if world.device.type == "cuda" else None
        nets.generator = DistributedDataParallel(nets.generator, device_ids=ids)
        nets.judge = DistributedDataParallel(nets.judge, device_ids=ids)
        found = run_steps(nets, config, world, 0, 2)
    assert_near(found, figures(device, stage="disc"))


def test_muon_trains(device):
    first, second = figures(device, optimizer="muon")
    assert all(map(math.isfinite, (*first.values(), *second.values())))
    assert_near([first], figures(device)[:1])  # the same gradients; only what is made of them differs


def test_the_loader_gives_the_device_what_it_gives_the_cpu(device, tmp_path):
    config = small_config(device=device, save_dir=str(tmp_path), dataset__num_workers=2)
    loader = ClipLoader(config.dataset, config.bucket_config, spatial_multiple=32, seed=config.seed)
    with process_group(device) as world:
        trainer = Trainer(config, world)
        try:
            for _ in range(3):
                (batch,) = trainer.next_batches()
                assert batch.device.type == device
                assert torch.equal(batch.cpu(), next(loader).pixels)
        finally:
            trainer.close()
            loader.close()


# Inference


@pytest.mark.parametrize("mode", ["tiles", "stages", "frames", "windows", "auto"])
def test_every_tiling_mode_gives_the_result_of_the_cpu(device, mode):
    """In float32 to the order of sums; bfloat16 is held in tests/test_gpu.py."""
    tiling = wb.Tiling(spatial_tile_size=64, temporal_tile_size=8, tiling_mode="auto", memory_gb=4).in_mode(mode)
    cpu, ae = small_model("video_dc_ae"), small_model("video_dc_ae").to(device)
    x = moving_video(22, 100, 130).to_tensor()
    expected = wb.encode_tiled(cpu, x, tiling)
    assert relative_error(wb.encode_tiled(ae, x, tiling), expected) < FLOAT32
    decoded = wb.decode_tiled(cpu, expected, tiling, 22, (100, 130))
    assert relative_error(wb.decode_tiled(ae, expected, tiling, 22, (100, 130)), decoded) < FLOAT32


@pytest.mark.parametrize("name", ["tiny", "video_dc_ae"])
def test_running_out_of_memory_is_told_in_words(device, name):
    """A clip of 80 TB, which takes nothing before somebody copies it."""
    x = torch.zeros(1, 3, 1, 1, 1, dtype=torch.uint8).expand(1, 3, 400_000, 4096, 4096)
    with pytest.raises(
        wb.WorkbenchError, match=r"out of memory on a piece of 400000x4096x4096; use `tiling_mode` auto"
    ):
        wb.encode_tiled(small_model(name).to(device), x, wb.ONE_PIECE)


def test_evaluation_measures_as_on_the_cpu(device, tmp_path):
    path = write_clip(tmp_path / "in.mkv", 12, 70, 90)
    results = [
        evaluate_clip(small_model("tiny").to(where), open_clip(path, wb.ClipPolicy(), 32), wb.Tiling()).result
        for where in ("cpu", device)
    ]
    for name, values in results[0].metrics.items():
        # Frames are rounded to 8 bits: where a value lies between two, one level may change.
        assert results[1].metrics[name] == pytest.approx(values, rel=0.01, abs=1e-3, nan_ok=True), name


def test_latents_are_written_and_decoded(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = ["--dataset.data_path", str(EXAMPLE_INDEX), "--resolution", "64", "--max_frames", "8", "--device", device]
    main("workbench", COMMANDS, ["stats", *policy, "--out", "stats.json"])
    main("workbench", COMMANDS, ["encode", *policy, "--normalise", "stats.json", "--save_dir", "latents"])
    main("workbench", COMMANDS, ["decode", "latents", "--device", device, "--save_dir", "decoded"])
    videos = sorted(Path("decoded").glob("*.mp4"))
    assert len(videos) == 3
    assert all(len(wb.read_video(path).frames) == 8 for path in videos)


def test_probes_measure_as_on_the_cpu(device, tmp_path, monkeypatch, vision):
    """The small generator is larger on a GPU, and its loss another one."""
    monkeypatch.chdir(tmp_path)
    policy = ["--dataset.data_path", str(EXAMPLE_INDEX), "--resolution", "128", "--max_frames", "8", "--models", "tiny"]
    asked = ["--generator_steps", "2", "--vision", str(vision["alignment_config__network"])]
    spaces = []
    for where in ("cpu", device):
        run = ["--device", where, "--dtype", "float32", "--save_dir", f"probe-{len(spaces)}"]
        main("workbench", COMMANDS, ["probe", *policy, *asked, *run])
        record = json.loads((tmp_path / run[-1] / "probes.json").read_text())
        spaces.append(record["spaces"]["tiny"]["figures"])
    assert spaces[0].keys() == spaces[1].keys()
    for name in spaces[0].keys() - {"generator_share"}:
        assert spaces[1][name] == pytest.approx(spaces[0][name], rel=0.01, abs=1e-3, nan_ok=True), name
    assert 0 < spaces[1]["generator_share"] < 2


def test_the_job_of_the_app_runs(device, tmp_path):
    entry = ModelRef("tiny")
    chosen = Choices(str(EXAMPLES / "bunny.mp4"), device=device, max_frames=8, resolution="64")
    result = drain(reconstruct_job(chosen, entry, entry.load(device, "float32"), tmp_path))
    on_cpu = wb.reconstruct(entry.load("cpu"), wb.read_video(result.pair.original)).num_frames
    assert result.report.num_frames == on_cpu == 8
    assert min(result.report.metrics["psnr"]) > 15
    assert all(path.stat().st_size for path in result.downloads.values())


@pytest.fixture(autouse=True)
def free_memory() -> Iterator[None]:
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
