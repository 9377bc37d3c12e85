"""`python -m workbench evaluate`: models against each other on the same clips, with a leaderboard."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.dataset import DatasetSettings
from workbench.compare.tables import text_table
from workbench.config import override, setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP, pick_device, pick_dtype
from workbench.errors import ConfigError, WorkbenchError
from workbench.evaluate.settings import EvaluateSettings, protocol_settings
from workbench.files import quoted
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.evaluate.clip import ClipResult
    from workbench.evaluate.run import Evaluation, Task
    from workbench.ranks import World
    from workbench.steps import Progress

SHOWN = (
    *("model", "psnr", "ssim", "lpips", "temporal_error", "flicker", "warp_error"),
    *("lpips_alex", "vmaf", "fvd_frechet", "i3d_per_clip_sq"),
    *("compression", "encode_fps", "decode_fps"),
)


@dataclass(frozen=True)
class EvaluateConfig(EvaluateSettings):
    """Settings of `python -m workbench evaluate`."""

    dataset: DatasetSettings = DatasetSettings()
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def with_protocol(flags: Mapping[str, Any]) -> EvaluateConfig:
    """The starting configuration that `--protocol` asks for."""
    return override(EvaluateConfig(), protocol_settings(flags.get("protocol")))


def run_evaluate(config: EvaluateConfig) -> None:
    """Evaluate every model on every clip, continuing where an earlier run stopped, and write the leaderboard."""
    _check_suite(config)
    if config.suite:
        return _run_suite(config)
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
            show = _progress(bar) if world.is_main else None
            store, evaluation = evaluate(config, clips, world, config.dtype, _reporter(bar, world), show)
    if evaluation is None:
        return
    record = write_results(store, evaluation)
    rows = [{name: row[name] for name in SHOWN if name in row} for row in record["leaderboard"]]
    print(f"\n{text_table(rows)}\n")
    _print_findings(record)
    print(f"{_counts(evaluation, len(clips))}; see {store.folder / 'leaderboard.html'}")
    if evaluation.failures:
        raise WorkbenchError(
            f"failed: {counted(len(evaluation.failures), 'evaluation')}, see above; the same command tries again"
        )


_OF_SUITE, _OF_BOTH = {"suite", "rounds", "ocr"}, {"models", "model", "save_dir", "device", "dtype"}
"""Settings of the fault suite alone, and those that it shares with an evaluation of clips."""


def _check_suite(config: EvaluateConfig) -> None:
    """Raise ConfigError for a setting that would not be looked at."""
    usual = EvaluateConfig()
    given = {field.name for field in fields(config) if getattr(config, field.name) != getattr(usual, field.name)}
    if not config.suite and (odd := sorted(given & _OF_SUITE)):
        raise ConfigError(f"`{odd[0]}`: is a setting of `suite` faults")
    if config.suite and (odd := sorted(given - _OF_SUITE - _OF_BOTH)):
        raise ConfigError(f"`{odd[0]}`: `suite` {config.suite} draws its own clips; leave it out")


def _run_suite(config: EvaluateConfig) -> None:
    """Every model through the fault suite, on this process alone."""
    from workbench.evaluate.settings import folder_of
    from workbench.models.ref import parse_models
    from workbench.ranks import under_torchrun
    from workbench.suite.page import PAGE
    from workbench.suite.run import fault_rows, run_faults

    if under_torchrun():  # all ranks would do the same, and write the same files
        raise ConfigError("`suite` works in one process: start it without torchrun")
    device = pick_device(config.device)
    entries, folder = parse_models(config.models), folder_of(config)
    with tqdm(dynamic_ncols=True, unit="step") as bar:

        def show(label: str, progress: "Progress") -> None:
            bar.total, bar.n = progress.total, progress.done
            bar.set_description(f"{label}: {progress.stage}")

        tiling, dtype = config.model, pick_dtype(config.dtype, device)
        models = run_faults(entries, tiling, config.rounds, config.ocr, folder, device, dtype, show)
    print(text_table(fault_rows(models)))
    print(f"see {folder / PAGE}")


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


def _progress(bar: tqdm) -> "Callable[[Task, Progress], None]":
    """A function that shows, behind the bar, what is being done with the clip."""

    def show(task: "Task", progress: "Progress") -> None:
        bar.set_postfix_str(f"{task.entry.label}: {progress.stage} {progress.done}/{progress.total}", refresh=False)
        bar.update(0)

    return show


def _print_findings(record: dict[str, Any]) -> None:
    """Differences that hold, distances between videos, and tables under protocols."""
    from workbench.metrics.measure import METRICS

    for one in record["differences"]:
        if one["better"]:
            low, high = one["interval"]
            metric, ends = METRICS[one["metric"]], f"95 %: {low:+.4g} to {high:+.4g}"
            print(f"{metric.label}: {one['model']} is better than {one['other']} by {one['mean']:+.4g} ({ends})")
    if record["fvd"]:
        print(f"rFVD {record['fvd']}")
    for name, protocol in record["policy"]["protocols"].items():
        print(f"\nprotocol {name}: {protocol['title']}, from {protocol['source']}")
        for kind in ("odd", "unknown"):
            print("".join(f"  {kind}: {line}\n" for line in protocol[kind]), end="")
    for title in ("protocols", "published"):
        if record[title]:
            print(f"\n{title}:\n{text_table(record[title])}")
    if record["published_note"] and not record["published"]:
        print(f"\n{flag_words(record['published_note'], COMMAND)}")


def _counts(evaluation: "Evaluation", clips: int) -> str:
    finished = sum(map(len, evaluation.results.values()))
    models = len(evaluation.facts)
    asked = f"{counted(clips, 'clip')}, {counted(models, 'model')}"
    return f"{finished} of {counted(clips * models, 'result')} ({asked})"


COMMAND = Command(
    "Compare models on the same clips and make a leaderboard.", EvaluateConfig(), run_evaluate, base=with_protocol
)
