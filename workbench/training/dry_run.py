"""One step of everything before a long run: does it work, how long does it take, does it fit?"""

import dataclasses
import tempfile
import time
from functools import partial

from workbench.ranks import World, process_group
from workbench.training.config import TrainConfig
from workbench.training.estimate import estimate
from workbench.training.schedules import all_losses_on
from workbench.training.step import train_step
from workbench.training.tracking import memory_gb
from workbench.training.trainer import Trainer

_LARGEST_ON_CPU_TFLOP = 5.0


def dry_run(config: TrainConfig) -> int:
    """Print what a step costs; gives the exit status 0.

    Where there is only a CPU, the cost is counted on tensors without values first, and a step that is too much for it
    is not made.
    """
    with process_group(config.device) as world:
        say = partial(print, flush=True) if world.is_main else lambda _: None
        if world.device.type == "cpu":
            estimated = estimate(config)
            say(f"one step, counted and not run: {estimated}")
            if estimated.tflop > _LARGEST_ON_CPU_TFLOP:
                say("too much for a CPU: no step is made")
                return 0
            say("small enough for a CPU: making one step to warm up and one to measure ...")
        say(_measure(config, world))
    return 0


def _measure(config: TrainConfig, world: World) -> str:
    """Time and memory of the second step; the first also compiles and allocates."""
    weights = config.model.from_pretrained or "random"
    model = dataclasses.replace(config.model, from_pretrained=weights)
    with tempfile.TemporaryDirectory() as folder:
        once = dataclasses.replace(
            config,
            dry_run=True,
            model=model,
            save_dir=folder,
            image_probability=0.0,
            tensorboard=False,
            wandb=False,
            resume=None,
        )
        step = all_losses_on(config)
        trainer = Trainer(once, world)
        try:
            trainer.loader.go_to_largest()
            batches = trainer.next_batches()
            for _ in range(2):
                started = time.perf_counter()
                figures = train_step(trainer.nets, batches, step, once, world)
                seconds = time.perf_counter() - started
        finally:
            trainer.close()
    parameters = sum(p.numel() for p in trainer.nets.autoencoder.parameters())
    shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    return (
        f"one step on {world.size} x {world.device}: {seconds:.2f} s; peak memory {memory_gb(world.device):.2f} GB\n"
        f"{parameters:,} parameters; batch {tuple(batches[0].shape)}; {shown}"
    )
