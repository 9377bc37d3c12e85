"""Small training runs: what the tests of one process and, started by torchrun, those of several ranks share."""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from small_vision import write_dinov2
from torch import Tensor, nn

from workbench.config import override
from workbench.media.files import EXAMPLE_INDEX
from workbench.ranks import World, leaving_together, process_group
from workbench.training.build import build_networks
from workbench.training.checkpoint import write_checkpoint
from workbench.training.config import TrainConfig
from workbench.training.distributed import full
from workbench.training.networks import Networks
from workbench.training.state import load_state, save_state
from workbench.training.step import train_step
from workbench.training.stopping import StopRequest
from workbench.training.trainer import Trainer

ARCHITECTURE = {
    "widths": (8, 16, 32, 32),
    "encoder_depths": (1, 1, 1, 1),
    "decoder_depths": (1, 1, 1, 1),
    "attention_stages": 2,
    "latent_channels": 16,
}
SMALL_DECODER = {"decoder_widths": (8, 16, 16), "decoder_depths": (1, 1, 1)}
"""In place of its own decoder, for stage decoder."""

STEPS = 3


def small_config(stage: str = "ae", **settings: object) -> TrainConfig:
    """A run of a very small Video DC-AE on the shipped clips; names of settings have __ for their dots."""
    base = {
        "stage": stage,
        "model.architecture": ARCHITECTURE,
        "model.from_pretrained": "random",
        "vae_loss_config.perceptual_loss_weight": 0.0,
        "discriminator.channels": 16,
        "lr": 1e-3,
        "device": "cpu",
        "dataset.data_path": str(EXAMPLE_INDEX),
        "dataset.num_workers": 0,
        "bucket_config": {"32px_ar1:1": {4: (1.0, 1)}},
        "validation.clips": 1,
        "epochs": 100,
        "log_every": 2,
        "tensorboard": False,
    }
    return override(TrainConfig(), base | {name.replace("__", "."): value for name, value in settings.items()})


def clips(step: int, count: int = 2) -> Tensor:
    """The global batch (count, 3, 4, 32, 32) of a step; every third step has images."""
    generator = torch.Generator().manual_seed(step)
    x = nn.functional.interpolate(torch.randn(count, 3, 4, 4, 4, generator=generator), (4, 32, 32), mode="trilinear")
    return (x[:, :, :1] if step % 3 == 2 else x).clamp(-1, 1)


def share(x: Tensor, world: World) -> Tensor:
    """This rank's part of a global batch."""
    return x.chunk(world.size)[world.rank]


def networks(config: TrainConfig, world: World) -> Networks:
    """Networks without dropout, whose draws differ between one process and several."""
    nets = build_networks(config, world)
    for module in nets.discriminator.modules() if nets.discriminator else ():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return nets


def run_steps(nets: Networks, config: TrainConfig, world: World, first: int, last: int) -> list[dict[str, float]]:
    """Figures of the steps from `first` up to `last`, which the networks take."""
    batches = (share(clips(step), world).to(world.device) for step in range(first, last))
    return [train_step(nets, [x], step, config, world) for step, x in enumerate(batches, first)]


def state_of(nets: Networks) -> dict[str, Tensor]:
    """All that a step changes, whole, by name."""
    tensors = {f"model.{name}": full(tensor) for name, tensor in nets.autoencoder.state_dict().items()}
    tensors |= {f"ema.{name}": full(tensor) for name, tensor in nets.ema.values.items()}
    networks = [("ae", nets.autoencoder, nets.optimizer)]
    if nets.discriminator:
        tensors |= {f"disc.{name}": tensor for name, tensor in nets.discriminator.state_dict().items()}
        networks.append(("disc", nets.discriminator, nets.discriminator_optimizer))
    for prefix, network, optimizer in networks:
        for name, parameter in network.named_parameters():
            for key, tensor in optimizer.state[parameter].items():
                tensors[f"{prefix}_optimizer.{name}.{key}"] = full(tensor)
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def on_ranks(folder: Path) -> None:
    """Under torchrun: both stages with DDP and FSDP2, NaN on one rank, checkpoints, and a whole run; results go to
    `folder`."""
    results: dict[str, object] = {}
    with process_group("cpu") as world, leaving_together():
        for stage in ("ae", "disc"):
            for parallel in ("ddp", "fsdp"):
                key = f"{stage}-{parallel}"
                config = small_config(stage, parallel=parallel, discriminator__norm="group")
                nets = networks(config, world)
                results[key] = run_steps(nets, config, world, 0, STEPS)
                _checkpoint_and_resume(folder / key, nets, config, world, results)
        results["alignment"] = aligned_steps(folder / f"vision{world.rank}", world)
        results["distillation"] = distilled_steps(world)
        _batch_norm(world, results)
        _one_rank_not_finite(world, results)
        _whole_run(folder / "run", world)
        if world.is_main:
            (folder / "results.json").write_text(json.dumps(results))


def aligned_steps(file: Path, world: World) -> list[dict[str, float]]:
    """Figures of two steps with latents aligned to a small vision network, which is written to `file` first."""
    weights = str(write_dinov2(file.with_suffix(".safetensors")))
    config = small_config(latent_loss_config__alignment=0.5, alignment_config__network=weights)
    nets = networks(config, world)
    batches = [share(nn.functional.interpolate(clips(step), (8, 16, 16)), world) for step in range(2)]
    return [train_step(nets, [x.to(world.device)], step, config, world) for step, x in enumerate(batches)]


def distilled_steps(world: World) -> list[dict[str, float]]:
    """Figures of two steps of a small decoder beside a frozen encoder."""
    config = small_config("decoder", model__architecture=ARCHITECTURE | SMALL_DECODER, distil_config__weight=1.0)
    return run_steps(networks(config, world), config, world, 0, 2)


def _checkpoint_and_resume(run: Path, nets: Networks, config: TrainConfig, world: World, results: dict) -> None:
    """Save, go on, resume in fresh networks, and go on as before: everything must be the same bit for bit."""
    plain = {"step": STEPS}
    write_checkpoint(run, STEPS, lambda path: save_state(path, nets, plain, config, world), 5, world)
    unbroken = run_steps(nets, config, world, STEPS, STEPS + 2)
    again = networks(dataclasses.replace(config, seed=7), world)
    load_state(run / f"step-{STEPS:06d}", again, config, world)
    resumed = run_steps(again, config, world, STEPS, STEPS + 2)
    expected, found = state_of(nets), state_of(again)
    results[f"{run.name}-differences"] = [n for n in expected if not torch.equal(expected[n], found[n])]
    results[f"{run.name}-resumed-figures-equal"] = unbroken == resumed
    if world.is_main:
        save_file(expected, run / "expected.safetensors")


def _batch_norm(world: World, results: dict) -> None:
    config = small_config("disc")
    nets = networks(config, world)
    results["batch-norm"] = run_steps(nets, config, world, 0, 1)
    results["running-mean"] = nets.discriminator.main[3].running_mean.tolist()


def _one_rank_not_finite(world: World, results: dict) -> None:
    """A NaN in the clips of the last rank alone: no rank may change anything."""
    config = small_config("disc")
    nets = networks(config, world)
    before = state_of(nets)
    x = share(clips(0), world).clone()
    if world.rank == world.size - 1:
        x[..., 0, 0] = float("nan")
    results["nan-figures"] = {k: str(v) for k, v in train_step(nets, [x], 0, config, world).items()}
    after = state_of(nets)
    results["nan-changed"] = [name for name in before if not torch.equal(before[name], after[name])]


def _whole_run(run: Path, world: World) -> None:
    """A sharded run with its validation passes, of three clips, and its checkpoints, into a folder that it makes."""
    run.mkdir(exist_ok=True)
    settings = {"save_dir": str(run), "max_steps": 2, "eval_every": 1, "ckpt_every": 1, "validation__clips": 3}
    trainer = Trainer(small_config(parallel="fsdp", **settings), world)
    with StopRequest() as stop:
        trainer.fit(stop)
    trainer.close()


if __name__ == "__main__":
    on_ranks(Path(sys.argv[1]))
