"""The training loop: batches, steps, validation, checkpoints and stopping, the same for all stages."""

import math
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.config import to_json
from workbench.data.loader import ClipLoader
from workbench.errors import ConfigError, NonFiniteError
from workbench.files import write_errors
from workbench.models.weights import checkpoints
from workbench.ranks import World, agreed, leaving_together, process_group, sum_over_ranks
from workbench.training.build import build_networks
from workbench.training.checkpoint import remove_unfinished, run_lock, write_checkpoint
from workbench.training.config import TrainConfig
from workbench.training.resume import changed_settings, mark_opened, not_exact, start_from
from workbench.training.state import load_state, save_state
from workbench.training.step import all_finite, train_step
from workbench.training.stopping import StopRequest, exit_status
from workbench.training.tracking import Tracker
from workbench.training.validation import Validator, write_sample


def train(config: TrainConfig) -> int:
    """Train as configured; on every rank that torchrun started, or on this process alone.

    Returns:
        The exit status: 0 when all steps are done, `exit_status` of the signal that asked it to stop otherwise.

    Raises:
        WorkbenchError: settings, data, weights or checkpoints do not fit, the disk is full, or figures are not finite;
            on all ranks the same, even where it concerns one of them alone.
    """
    run = Path(config.save_dir)
    with process_group(config.device) as world, leaving_together(), run_lock(run, world), StopRequest() as stop:
        trainer = Trainer(config, world)
        try:
            stopped_by = trainer.fit(stop)
        finally:
            trainer.close()
    return exit_status(stopped_by) if stopped_by else 0


class Trainer:
    """A run: its networks, data and counters.

    Attributes:
        step: steps done; also counts those left out because of a NaN or Inf.
        total: steps of the whole run.
        skipped: steps left out so far.
        bad_clips: how many times a clip that could not be read was replaced, on all ranks and since the run began.
        latents: moments per latent channel of the last validation pass, with its step.
    """

    def __init__(self, config: TrainConfig, world: World) -> None:
        self.config, self.world = config, world
        _check_precision(config, world)
        self.run = Path(config.save_dir)
        self.step = self.skipped = self.bad_clips = 0
        self.latents: dict[str, Any] = {}
        self._saved_step = -1
        with agreed(world):
            start = start_from(config)
            changed = changed_settings(start, config) if start else []
        self.nets = build_networks(config, world)
        with agreed(world):
            self.loader = self._training_loader()
            self.validator = Validator(self.nets, config, world)
            self.total = self._total_steps()
        plain = load_state(start, self.nets, config, world) if start else {}
        self._open(plain)
        if start:
            self._go_on(start, plain, changed)

    def fit(self, stop: StopRequest) -> int:
        """Train to the last step, or until a signal asks to stop. Either way the last step done has a checkpoint.

        Returns:
            The signal that came before the last step; 0 if none did.
        """
        if self.step == 0:
            self._validate()  # what the later figures are to be compared with
        while self.step < self.total:
            started = time.perf_counter()
            with agreed(self.world):
                batches = self.next_batches()
            waited = time.perf_counter() - started
            figures = train_step(self.nets, batches, self.step, self.config, self.world)
            self.step += 1
            with agreed(self.world):
                self._account(figures, {"step_s": time.perf_counter() - started, "wait_s": waited})
            stopped_by = self._over_ranks(stop.number)
            if stopped_by and self.step < self.total:
                name = signal.Signals(stopped_by).name
                self.tracker.say(f"{name}: saving step {self.step} in {self.run}; `resume` latest goes on")
                self._save()
                return stopped_by
            if self._due(self.config.eval_every):
                self._validate()
            if self._due(self.config.ckpt_every):
                self._save()
        self._say_the_end()
        return 0

    def next_batches(self) -> list[Tensor]:
        """This rank's batches (B, 3, T, H, W) of the next step, on its device."""
        last = self.config.model.channels_last
        layout = torch.channels_last_3d if last else torch.contiguous_format
        pixels = [next(self.loader).pixels for _ in range(self.config.grad_accumulation)]
        return [x.to(self.world.device, non_blocking=True).contiguous(memory_format=layout) for x in pixels]

    def close(self) -> None:
        """End the loader's workers and the log."""
        self.loader.close()
        self.tracker.close()

    def _training_loader(self) -> ClipLoader:
        return ClipLoader(
            self.config.dataset,
            self.config.bucket_config,
            spatial_multiple=self.nets.autoencoder.spatial_stride,
            seed=self.config.seed,
            rank=self.world.rank,
            world_size=self.world.size,
            image_probability=self.config.image_probability,
            device=self.world.device,
        )

    def _total_steps(self) -> int:
        total = self.config.epochs * self.loader.steps_per_epoch // self.config.grad_accumulation
        if total == 0:
            raise ConfigError(f"`epochs` {self.config.epochs}: the data does not fill one step")
        return min(total, self.config.max_steps or total)

    def _open(self, plain: dict[str, Any]) -> None:
        """Take over the counters of a checkpoint, and start the log there."""
        self.step, self.skipped = plain.get("step", 0), plain.get("skipped", 0)
        self.bad_clips = self._bad_clips_before = plain.get("bad_clips", 0)
        self.latents = plain.get("latents", {})
        if self.step > self.total:
            raise ConfigError(f"`max_steps` {self.total}: the checkpoint is of step {self.step} already")
        with agreed(self.world):
            if self.world.is_main:
                with write_errors(self.run):
                    remove_unfinished(self.run)
                    (self.run / "config.json").write_text(to_json(self.config) + "\n")
                    mark_opened(self.run)
            self.tracker = Tracker(self.run, self.config, self.world, self.step, self.total)

    def _go_on(self, start: Path, plain: dict[str, Any], changed: list[str]) -> None:
        """Take over the place in the data and the unfinished log entry of a checkpoint, and say what is different."""
        self._saved_step = self.step
        self.loader.load_state_dict(plain["loader"])
        self.tracker.load_state_dict(plain["tracker"])
        self.tracker.say(f"resumed from {start}; {self.total - self.step} steps to go")
        if changed:
            self.tracker.say(f"settings that changed: {', '.join(changed)}")
        if caveat := not_exact(plain, self.world):
            self.tracker.say(caveat)

    def _account(self, figures: dict[str, float], seconds: dict[str, float]) -> None:
        """Log a step; one that was left out for a NaN or Inf is counted, and ends the run if it is one too many."""
        if all_finite(figures):
            return self.tracker.add(self.step, figures | seconds)
        self.skipped += 1
        names = ", ".join(name for name, value in figures.items() if not math.isfinite(value))
        message = f"step {self.step}: not finite: {names}; {self.skipped} steps left out"
        if self.skipped > self.config.skip_nonfinite:
            *_, last = "none yet", *checkpoints(self.run).values()
            allowed = self.config.skip_nonfinite
            raise NonFiniteError(f"{message}, `skip_nonfinite` allows {allowed}; last checkpoint: {last}")
        self.tracker.log(self.step, {"skipped": float(self.skipped)})
        self.tracker.say(message)

    def _over_ranks(self, asked: int) -> int:
        """The signal that any rank was sent, so that all stop after the same step; counts the bad clips of all."""
        numbers = self.loader.num_replaced, asked == signal.SIGTERM, asked == signal.SIGINT
        replaced, terminated, interrupted = sum_over_ranks(numbers)
        if self._bad_clips_before + replaced > self.bad_clips:
            self.bad_clips = self._bad_clips_before + replaced
            with agreed(self.world):
                self.tracker.log(self.step, {"bad_clips": float(self.bad_clips)})
        return signal.SIGTERM if terminated else signal.SIGINT if interrupted else 0

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.total

    def _validate(self) -> None:
        result = self.validator.run()
        moments = result.latents
        self.latents = {
            "step": self.step,
            "count": moments.count,
            "mean": moments.mean.tolist(),
            "std": moments.std.tolist(),
        }
        with agreed(self.world):
            if self.world.is_main:
                self.tracker.log(self.step, result.figures)
                self.tracker.show(self.step, result.sample)
                write_sample(result.sample, self.run / "samples" / f"step-{self.step:06d}")
        self.tracker.say(f"step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in result.figures.items()))

    def _save(self) -> None:
        if self._saved_step == self.step:
            return
        plain = {
            "step": self.step,
            "skipped": self.skipped,
            "bad_clips": self.bad_clips,
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

    def _say_the_end(self) -> None:
        self.tracker.say(f"done: {self.run}/step-{self.step:06d}")
        if self.bad_clips:
            self.tracker.say(f"{self.bad_clips} times a clip could not be read and another one was taken; see above")


def _check_precision(config: TrainConfig, world: World) -> None:
    """oneDNN's bfloat16 gradient of small Conv3d weights holds uninitialised memory on CPUs (seen with torch 2.13)."""
    if config.precision == "bfloat16" and world.device.type == "cpu":
        raise ConfigError("`precision` bfloat16: convolution gradients are not reliable in it on a CPU; use float32")
