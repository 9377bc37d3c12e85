"""Looking at runs from outside, also while they go on: which there are, what they logged, and their samples."""

import json
from pathlib import Path
from typing import Any

from workbench.errors import DataError, first_line
from workbench.files import find_below

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"


def find_runs(root: Path) -> list[Path]:
    """Run folders under `root`, at most three folders deep: the one that was written to last comes first."""
    logs = find_below(root, METRICS_FILE)
    folders = {path.parent: path.stat().st_mtime for path in logs if (path.parent / CONFIG_FILE).is_file()}
    return sorted(folders, key=folders.__getitem__, reverse=True)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log, oldest first, each with `step`; a last line that is being written is left out.

    Raises:
        DataError: there is no log, or it is damaged.
    """
    path = run / METRICS_FILE
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
    except (OSError, ValueError) as error:
        raise DataError(f"{path.parent.name}/{path.name}: not the log of a run ({first_line(error)})") from None
    return [_entry(path, number, line) for number, line in enumerate(whole.splitlines(), 1)]


def _entry(log: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
        row = {name: None if value is None else float(value) for name, value in values.items()}
        return row | {"step": int(float(values["step"]))}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{log.parent.name}/{log.name}: line {number} is not of a log ({first_line(error)})") from None


def read_config(run: Path) -> dict[str, Any]:
    """The resolved configuration of a run, as plain values.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = run / CONFIG_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path.parent.name}/{path.name}: not a configuration ({first_line(error)})") from None


def find_samples(run: Path) -> list[Path]:
    """The samples of a run's validation passes, .mp4 or .png, oldest first."""
    samples = [path for path in (run / "samples").glob("step-*") if path.suffix in (".mp4", ".png")]
    return sorted(samples, key=_step_of)


def _step_of(sample: Path) -> tuple[int, str]:
    """Its number first: a million has a digit more than the names are padded to."""
    digits = sample.stem.removeprefix("step-")
    return (int(digits) if digits.isdecimal() else -1, sample.name)
