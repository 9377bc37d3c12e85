"""Curves of a training run, and reading runs while they go on."""

import json
import os
from dataclasses import fields
from pathlib import Path

import pytest

from workbench.compare.training_figures import training_curves
from workbench.errors import DataError
from workbench.training.config import LatentLossConfig
from workbench.training.runs import find_runs, find_samples, read_config, read_metrics

ROWS = [
    {"step": 5, "time": 1.0, "nll": 0.3, "l1": 0.2, "novel": 7.0},
    {"step": 10, "time": 2.0, "nll": None, "l1": 0.1},
    {"step": 10, "time": 2.0, "val_psnr": 20.0},
]


def write_run(folder: Path, lines: list[str]) -> Path:
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stage": "ae"}))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "samples" / "step-000010.mp4").write_bytes(b"")
    return folder


def test_every_figure_of_the_log_has_its_curve_and_unknown_ones_come_last():
    figure = training_curves(ROWS)
    curves = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert curves == {
        "val_psnr": ([10], [20.0]),
        "nll": ([5, 10], [0.3, None]),
        "l1": ([5, 10], [0.2, 0.1]),
        "novel": ([5], [7.0]),
    }
    assert [note.text for note in figure.layout.annotations] == ["PSNR (dB)", "Autoencoder's loss", "Other"]


def test_every_loss_on_latents_has_its_place():
    names = [field.name for field in fields(LatentLossConfig)]
    figure = training_curves([{"step": 1} | dict.fromkeys(names, 0.5)])
    assert [note.text for note in figure.layout.annotations] == ["Losses on latents"]


def test_an_empty_log_is_an_empty_figure():
    assert len(training_curves([]).data) == 0


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path):
    run = write_run(tmp_path / "run", [json.dumps(row) for row in ROWS] + ['{"step": 15, "nl'])
    assert [row["step"] for row in read_metrics(run)] == [5, 10, 10]
    assert read_config(run) == {"stage": "ae"}
    assert [path.name for path in find_samples(run)] == ["step-000010.mp4"]


def test_samples_come_in_the_order_of_their_steps_beyond_a_million_too(tmp_path: Path):
    (tmp_path / "samples").mkdir()
    names = ["step-999999.png", "step-1000000.png", "step-12345678.mp4"]
    for name in names:
        (tmp_path / "samples" / name).write_bytes(b"")
    assert [path.name for path in find_samples(tmp_path)] == names


def test_runs_are_found_with_the_one_written_last_first(tmp_path: Path):
    runs = [write_run(tmp_path / name, [""]) for name in ("a", "outputs/b", ".hidden/c", "a/b/c/d/e")]
    for age, run in enumerate(runs):
        os.utime(run / "metrics.jsonl", (1000 + age, 1000 + age))
    assert find_runs(tmp_path) == [runs[1], runs[0]]


@pytest.mark.parametrize(
    "text", ["not json\n", '{"no": "step"}\n', "[1]\n", '{"step": 1e999}\n', '{"step": 1, "val_psnr": "x"}\n']
)
def test_a_damaged_log_is_refused_in_words(tmp_path: Path, text: str):
    run = write_run(tmp_path / "run", [])
    (run / "metrics.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"run/metrics.jsonl: (not the log|line 1 is not of a log)"):
        read_metrics(run)
