"""Watching a run: progress bar, metrics.jsonl, TensorBoard, Weights & Biases, and alarms. All on rank 0."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from workbench.config import to_dict
from workbench.errors import ConfigError
from workbench.files import write_errors, written_whole
from workbench.ranks import World
from workbench.training.config import TrainConfig
from workbench.training.runs import METRICS_FILE
from workbench.training.schedules import rate_factor

_FRAMES_SHOWN = 4
_SHOWN = {
    "nll": "nll {:.3g}",
    "disc": "disc {:.3g}",
    "train_psnr": "PSNR {:.2f}",
    "step_s": "{:.3g} s/step",
    "memory_gb": "{:.3g} GB",
}
"""What the bar shows of a step, in words that leave room on a line of 100 letters; the log holds all of it."""


class Sink(Protocol):
    """Where figures go."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of a step by name."""

    def close(self) -> None:
        """Nothing more comes."""


class Viewer(Sink, Protocol):
    """Where pictures can be looked at too."""

    def show(self, step: int, frames_TCHW: Tensor) -> None:
        """Keep frames, uint8, of a step."""


class JsonLines:
    """RUN/metrics.jsonl: one object a line, with `step`, `total` (steps of the whole run), `time` (Unix seconds) and
    figures. NaN and Inf are null."""

    def __init__(self, run: Path, step: int, total: int) -> None:
        """Entries after `step`, from before the run was resumed there, are dropped."""
        path = run / METRICS_FILE
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        with written_whole(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        self._file, self._total = path.open("a"), total

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._file.write(json.dumps({"step": step, "total": self._total, "time": time.time(), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _step_of(line: str) -> float:
    """The step of an entry; infinite for a damaged one, which is dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf


class TensorBoard:
    """Events in RUN/tensorboard."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(run / "tensorboard", purge_step=step + 1 if step else None)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def show(self, step: int, frames_TCHW: Tensor) -> None:
        self._writer.add_images("original | reconstruction", frames_TCHW, step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases; a resumed run goes on under the id in RUN/wandb_id. WANDB_MODE=offline needs no network."""

    def __init__(self, run: Path, config: TrainConfig) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError("`wandb` True: Weights & Biases is not installed; run `pip install wandb`") from None
        id_file = run / "wandb_id"
        known = id_file.read_text().strip() if id_file.exists() else None
        self._run = wandb.init(
            project="video-autoencoder-workbench",
            name=run.name,
            dir=run,
            id=known,
            resume="allow" if known else None,
            config=to_dict(config),
        )
        id_file.write_text(self._run.id)
        self._image = wandb.Image

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def show(self, step: int, frames_TCHW: Tensor) -> None:
        pictures = [self._image(frame.permute(1, 2, 0).cpu().numpy()) for frame in frames_TCHW]
        self._run.log({"original | reconstruction": pictures}, step=step)

    def close(self) -> None:
        self._run.finish()


class Tracker:
    """Gathers the figures of every step and passes on their means every `log_every` steps."""

    def __init__(self, run: Path, config: TrainConfig, world: World, step: int, total: int) -> None:
        self._config, self._world = config, world
        self._sums: dict[str, tuple[float, int]] = {}
        self._sinks: list[Sink] = []
        self._viewers: list[Viewer] = []
        self._bar = _bar(step, total, is_shown=world.is_main and not config.dry_run)
        self._run = run
        if world.is_main:
            with write_errors(run):
                self._open(config, step, total)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of the step with which `step` steps are done."""
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1
        shown = {**figures, "memory_gb": memory_gb(self._world.device)}
        postfix = ", ".join(words.format(shown[name]) for name, words in _SHOWN.items() if name in shown)
        self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.update(step - self._bar.n)
        if step % self._config.log_every == 0:
            self._flush(step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures to pass on at once, such as those of a validation pass.

        Raises:
            FileError: the disk does not take them.
        """
        with write_errors(self._run):
            for sink in self._sinks:
                sink.log(step, figures)

    def show(self, step: int, frames_TCHW: Tensor) -> None:
        """A few of these uint8 frames, spread over the clip, to those who can show pictures."""
        chosen = frames_TCHW[:: -(-len(frames_TCHW) // _FRAMES_SHOWN)]
        with write_errors(self._run):
            for viewer in self._viewers:
                viewer.show(step, chosen)

    def say(self, message: str) -> None:
        """A line for the reader, above the progress bar."""
        if self._world.is_main:
            self._bar.write(message)

    def close(self) -> None:
        self._bar.close()
        with write_errors(self._run):
            for sink in self._sinks:
                sink.close()

    def state_dict(self) -> dict[str, Any]:
        """Means that are not passed on yet, so that a resumed run logs what an unbroken one does."""
        return {name: list(pair) for name, pair in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = {name: (total, count) for name, (total, count) in state.items()}

    def _open(self, config: TrainConfig, step: int, total: int) -> None:
        if config.tensorboard:
            self._viewers.append(TensorBoard(self._run, step))
        if config.wandb:
            self._viewers.append(Wandb(self._run, config))
        self._sinks += [JsonLines(self._run, step, total), *self._viewers]

    def _flush(self, step: int) -> None:
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        means["lr"] = self._config.lr * rate_factor(step - 1, self._config)  # of the last step, which counts from 0
        if self._world.device.type == "cuda":
            means["memory_gb"] = memory_gb(self._world.device)
        self.log(step, means)
        alarm = collapse_alarm(means)
        if alarm:
            self.say(f"step {step}: ALARM: {alarm}")


def _bar(step: int, total: int, is_shown: bool) -> tqdm:
    layout = "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    return tqdm(total=total, initial=step, disable=not is_shown, bar_format=layout, dynamic_ncols=True)


def collapse_alarm(means: Mapping[str, float]) -> str | None:
    """What is wrong with a discriminator of these mean figures, or None.

    One that always wins gives the autoencoder no direction; one whose logits do not tell real from reconstructed
    clips at all, or are huge, is no use either.
    """
    if "real_logits" not in means:
        return None
    gap = abs(means["real_logits"] - means["fake_logits"])
    size = max(abs(means["real_logits"]), abs(means["fake_logits"]))
    if size > 100.0:
        return f"the discriminator's logits are huge (mean magnitude {size:.3g})"
    if min(means["real_accuracy"], means["fake_accuracy"]) > 0.99 and gap > 4.0:
        return f"the discriminator wins everywhere (logits {gap:.3g} apart, both accuracies above 0.99)"
    if gap < 1e-4:
        return f"the discriminator does not tell real from reconstructed clips (logits {gap:.1g} apart)"
    return None


def memory_gb(device: torch.device) -> float:
    """Peak memory: the GPU's allocated by torch so far, or the resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
