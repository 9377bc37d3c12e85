"""`python -m workbench evaluate`: models against each other on the same clips, with a leaderboard."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.dataset import DatasetSettings
from workbench.compare.tables import text_table
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import WorkbenchError
from workbench.evaluate.settings import EvaluateSettings
from workbench.files import quoted

if TYPE_CHECKING:
    from workbench.evaluate.clip import ClipResult
    from workbench.evaluate.run import Evaluation, Task
    from workbench.ranks import World

SHOWN = (
    *("model", "psnr", "ssim", "lpips", "temporal_error", "flicker", "warp_error", "rfvd"),
    *("compression", "encode_fps", "decode_fps"),
)


@dataclass(frozen=True)
class EvaluateConfig(EvaluateSettings):
    """Settings of `python -m workbench evaluate`."""

    dataset: DatasetSettings = DatasetSettings()
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_evaluate(config: EvaluateConfig) -> None:
    """Evaluate every model on every clip, continuing where an earlier run stopped, and write the leaderboard."""
    clips = config.dataset.clips()
    from workbench.evaluate.run import evaluate
    from workbench.evaluate.summary import write_results
    from workbench.metrics.lpips import lpips_available
    from workbench.metrics.networks import missing_network
    from workbench.ranks import process_group

    with process_group(config.device) as world:
        if world.is_main and not lpips_available():
            print(f"LPIPS is left out: {missing_network('lpips_vgg')}", file=sys.stderr)
        with tqdm(unit="clip", dynamic_ncols=True, disable=not world.is_main) as bar:
            store, evaluation = evaluate(config, clips, world, config.dtype, _reporter(bar, world))
    if evaluation is None:
        return
    record = write_results(store, evaluation)
    rows = [{name: row[name] for name in SHOWN if name in row} for row in record["leaderboard"]]
    print(f"\n{text_table(rows)}\n")
    if record["rfvd"]:
        print(f"rFVD {record['rfvd']}")
    print(f"{_counts(evaluation, len(clips))}; see {store.folder / 'leaderboard.html'}")
    if evaluation.failures:
        raise WorkbenchError(f"{len(evaluation.failures)} evaluations failed, see above; the same command tries again")


def _reporter(bar: tqdm, world: "World") -> "Callable[[Task, ClipResult | str, int, int], None]":
    """A function that shows a finished task: results on rank 0, failures on all."""

    from workbench.metrics.measure import summarise

    def report(task: "Task", outcome: "ClipResult | str", done: int, total: int) -> None:
        bar.total = total
        bar.update()
        if isinstance(outcome, str):
            tqdm.write(f"failed: {task.entry.label}: {flag_words(outcome, COMMAND)}", file=sys.stderr)
        elif world.is_main:
            psnr = f"PSNR {summarise(outcome.metrics)['psnr'].mean:.2f} dB"
            tqdm.write(f"{task.entry.label}: {quoted(task.clip.name)}: {psnr}", file=sys.stderr)

    return report


def _counts(evaluation: "Evaluation", clips: int) -> str:
    finished = sum(map(len, evaluation.results.values()))
    return f"{finished} of {clips * len(evaluation.facts)} results ({clips} clips, {len(evaluation.facts)} models)"


COMMAND = Command("Compare models on the same clips and make a leaderboard.", EvaluateConfig(), run_evaluate)
