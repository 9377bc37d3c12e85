"""The training loop: batches, steps, validation, checkpoints and stopping, the same for both stages."""

import math
import random
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from workbench.config import to_json
from workbench.data import ClipLoader
from workbench.errors import ConfigError, WorkbenchError
from workbench.metrics.lpips import load_lpips, lpips_available
from workbench.training.build import build_networks
from workbench.training.checkpoint import (
    CheckpointError,
    checkpoints,
    find_checkpoint,
    remove_unfinished,
    run_lock,
    step_of,
    write_checkpoint,
)
from workbench.training.config import TrainConfig
from workbench.training.distributed import World, process_group, reduce_mean, restarted_by_torchrun
from workbench.training.state import load_state, not_exact, save_state
from workbench.training.step import all_finite, train_step
from workbench.training.tracking import Tracker
from workbench.training.validation import validate, write_sample

STOPPED_BY_SIGTERM = 143
"""Exit status of a run that got SIGTERM and saved a checkpoint: 128 + 15, as a shell reports it."""


class NonFiniteError(WorkbenchError):
    """A loss or gradient was NaN or Inf more often than allowed."""


def train(config: TrainConfig) -> int:
    """Train as configured; on every rank that torchrun started, or on this process alone.

    Returns:
        The exit status: 0 when all steps are done, STOPPED_BY_SIGTERM when asked to stop.

    Raises:
        WorkbenchError: settings, data, weights or checkpoints do not fit, or figures are not finite.
    """
    with process_group(config.device) as world, run_lock(Path(config.save_dir), world), StopRequest() as stop:
        trainer = Trainer(config, world)
        try:
            return 0 if trainer.fit(stop) else STOPPED_BY_SIGTERM
        finally:
            trainer.close()


class StopRequest:
    """Notes SIGTERM, however often, for the loop to see after its step; restores the handler at the end."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class Trainer:
    """A run: its networks, data and counters.

    Attributes:
        step: steps done; also counts those left out because of a NaN or Inf.
        total: steps of the whole run.
        skipped: steps left out so far.
        latents: mean and std per latent channel of the last validation pass, with its step.
    """

    def __init__(self, config: TrainConfig, world: World):
        self.config, self.world = config, world
        _check_precision(config, world)
        self.run = Path(config.save_dir)
        start = self._start_from()
        self.nets = build_networks(config, world)
        self.loader = ClipLoader(
            config.dataset,
            config.bucket_config,
            spatial_multiple=self.nets.autoencoder.spatial_stride,
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
        )
        self.total = self._total_steps()
        self.step = self.skipped = 0
        self.latents: dict[str, Any] = {}
        self._saved_step = -1
        plain = load_state(start, self.nets, config, world) if start else {}
        self._open(plain, start)

    def fit(self, stop: StopRequest) -> bool:
        """Train to the last step; False where SIGTERM came first. Either way the last step done has a checkpoint."""
        while self.step < self.total:
            started = time.perf_counter()
            batches = self.next_batches()
            waited = time.perf_counter() - started
            figures = train_step(self.nets, batches, self.step, self.config, self.world)
            self.step += 1
            asked, bad_clips = self._over_ranks(stop.asked)
            seconds = {"step_s": time.perf_counter() - started, "wait_s": waited}
            self._account(figures, seconds | {"bad_clips": bad_clips})
            if asked and self.step < self.total:
                self.tracker.say(f"SIGTERM: saving step {self.step} in {self.run}; go on with --resume latest")
                self._save()
                return False
            if self._due(self.config.eval_every):
                self._validate()
            if self._due(self.config.ckpt_every):
                self._save()
        self.tracker.say(f"done: {self.run}/step-{self.step:06d}")
        return True

    def close(self) -> None:
        """End the loader's workers and the log."""
        self.loader.close()
        self.tracker.close()

    def _start_from(self) -> Path | None:
        """The checkpoint to go on from. An existing run is never overwritten, and never begun anew by mistake."""
        known = checkpoints(self.run)
        if self.world.is_main:
            remove_unfinished(self.run)
        resume = "latest" if known and restarted_by_torchrun() else self.config.resume
        if resume is None and known and self.config.dry_run is False:
            raise CheckpointError(f"--save_dir {self.run}: holds a run already; add --resume latest or name another")
        if resume is None:
            return None
        start = find_checkpoint(resume, self.run)
        if known and max(known) > step_of(start):
            newest = known[max(known)].name
            raise CheckpointError(f"--resume {resume}: {self.run} has later ones ({newest}); name another --save_dir")
        return start

    def _total_steps(self) -> int:
        total = self.config.epochs * self.loader.steps_per_epoch // self.config.grad_accumulation
        if total == 0:
            raise ConfigError(f"--epochs {self.config.epochs}: the data does not fill one step")
        return min(total, self.config.max_steps or total)

    def _open(self, plain: dict[str, Any], start: Path | None) -> None:
        """Take over the plain values of a checkpoint, and start the log there."""
        if self.world.is_main:
            (self.run / "config.json").write_text(to_json(self.config) + "\n")
        dist.barrier()
        self.step, self.skipped = plain.get("step", 0), plain.get("skipped", 0)
        self.latents = plain.get("latents", {})
        self.tracker = Tracker(self.run, self.config, self.world, self.step, self.total)
        if start:
            self._saved_step = self.step
            self.loader.load_state_dict(plain["loader"])
            self.tracker.load_state_dict(plain["tracker"])
            self.tracker.say(f"resumed from {start}; {self.total - self.step} steps to go")
            if not_exact(plain, self.world):
                self.tracker.say(not_exact(plain, self.world))

    def next_batches(self) -> list[Tensor]:
        """This rank's batches (B, 3, T, H, W) of the next step, cut to one frame where the step is one of images."""
        as_images = images_at(self.step, self.config)
        batches = []
        for _ in range(self.config.grad_accumulation):
            pixels = next(self.loader).pixels
            pixels = (pixels[:, :, :1] if as_images else pixels).to(self.world.device, non_blocking=True)
            last = self.config.model.channels_last
            batches.append(pixels.contiguous(memory_format=torch.channels_last_3d) if last else pixels.contiguous())
        return batches

    def _account(self, figures: dict[str, float], more: dict[str, float]) -> None:
        """Log a step; one that was left out for a NaN or Inf is counted, and ends the run if it is one too many."""
        if all_finite(figures):
            return self.tracker.add(self.step, figures | more)
        self.skipped += 1
        names = ", ".join(name for name, value in figures.items() if not math.isfinite(value))
        message = f"step {self.step}: not finite: {names}; {self.skipped} steps left out"
        if self.skipped > self.config.skip_nonfinite:
            *_, last = "none yet", *checkpoints(self.run).values()
            allowed = self.config.skip_nonfinite
            raise NonFiniteError(f"{message}, --skip_nonfinite allows {allowed}; last checkpoint: {last}")
        self.tracker.log(self.step, {"skipped": float(self.skipped)})
        self.tracker.say(message)

    def _over_ranks(self, asked: bool) -> tuple[bool, float]:
        """Whether any rank was asked to stop, so that all do so after the same step; and all clips replaced so far."""
        local = {"asked": float(asked), "bad_clips": float(self.loader.num_replaced)}
        means = reduce_mean({name: torch.tensor(value) for name, value in local.items()}, self.world)
        return means["asked"] > 0.0, means["bad_clips"] * self.world.size

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.total

    def _validate(self) -> None:
        network = self.nets.lpips
        if network is None and lpips_available():
            network = load_lpips(self.world.device)
        result = validate(self.nets, self.config, self.world, network)
        self.latents = {"step": self.step, "mean": result.latent_mean, "std": result.latent_std}
        self.tracker.log(self.step, result.figures)
        if self.world.is_main:
            write_sample(result.sample, self.run / "samples" / f"step-{self.step:06d}")
        self.tracker.say(f"step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in result.figures.items()))

    def _save(self) -> None:
        if self._saved_step == self.step:
            return
        plain = {
            "step": self.step,
            "skipped": self.skipped,
            "latents": self.latents,
            "loader": self.loader.state_dict(),
            "tracker": self.tracker.state_dict(),
        }
        write_checkpoint(
            self.run,
            self.step,
            lambda folder: save_state(folder, self.nets, plain, self.config, self.world),
            self.config.keep_n_latest,
            self.world,
        )
        self._saved_step = self.step


def _check_precision(config: TrainConfig, world: World) -> None:
    """oneDNN's bfloat16 gradient of small Conv3d weights holds uninitialised memory on CPUs (seen with torch 2.13)."""
    if config.precision == "bfloat16" and world.device.type == "cpu":
        raise ConfigError("--precision bfloat16: convolution gradients are not reliable in it on a CPU; use float32")


def images_at(step: int, config: TrainConfig) -> bool:
    """Whether the batches of a step are cut to images: drawn from the seed and the step, so alike on every rank."""
    return random.Random(f"{config.seed}:{step}").random() < config.image_probability
