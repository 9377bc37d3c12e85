"""All models through the fault suite, and what came of it as files; a model that is done is not run again."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workbench.errors import ConfigError
from workbench.files import write_csv, write_errors, write_json, write_text
from workbench.media.files import EXAMPLES
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.models.base import Autoencoder
from workbench.models.identity import model_facts
from workbench.models.ref import ModelRef
from workbench.steps import Progress, drain
from workbench.suite.measure import faults_steps, verdict
from workbench.suite.page import suite_html
from workbench.suite.rounds import rounds_steps
from workbench.tile_settings import Tiling

CLIP = EXAMPLES / "bunny.mp4"
POLICY = ClipPolicy(resolution="256px_ar1:1", max_frames=16)
"""The clip that goes round and round, and what is taken of it."""

SMALL_TILE = 128
"""Pixels of the tiles, where a model allows them, of the rounds that show what tiles add."""


@dataclass(frozen=True)
class ModelFaults:
    """What the suite found of one model.

    Attributes:
        figures: by their names in `measure.FIGURES`.
        rounds: by the way that it was run, a mapping for every round, see `rounds.Round`.
        left_out: ways that it could not be run in, with the reason.
    """

    figures: dict[str, float]
    rounds: dict[str, list[dict[str, float]]]
    left_out: dict[str, str]


def run_faults(
    entries: Sequence[ModelRef],
    tiling: Tiling,
    rounds: int,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    on_progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, ModelFaults]:
    """Run the suite and write faults.json, faults.csv and faults.html; those of a model as soon as it is done.

    Args:
        rounds: of decoding and encoding again; 0 for none.

    Raises:
        ConfigError: a tile size is not legal, or the folder has results under other settings.
        WeightsError: weights are missing or do not fit.
        FileError: a file cannot be written.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    record = _begun(folder, {"tiling": asdict(tiling), "rounds": rounds, "dtype": str(dtype)})
    for entry in entries:
        facts = model_facts(entry, tiling, device, dtype)
        known = record["models"].get(entry.label)
        if known is None or known["facts"] != facts:
            ae = entry.load(device, dtype)
            show = (lambda progress, label=entry.label: on_progress(label, progress)) if on_progress else None
            found = _one(ae, tiling, rounds, show)
            record["models"][entry.label] = {"facts": facts} | asdict(found)
            write_json(folder / "faults.json", record)
    models = {entry.label: _read(record["models"][entry.label]) for entry in entries}
    write_csv(folder / "faults.csv", [{"model": label} | one.figures for label, one in models.items()])
    write_text(folder / "faults.html", suite_html({k: asdict(v) for k, v in models.items()}))
    return models


def fault_rows(models: dict[str, ModelFaults]) -> list[dict[str, Any]]:
    """One row a figure, with every model's value and, where it is not good, its verdict."""
    names = list(next(iter(models.values())).figures)
    return [
        {"figure": name} | {label: _cell(name, one.figures[name]) for label, one in models.items()} for name in names
    ]


def _read(kept: dict[str, Any]) -> ModelFaults:
    figures = {name: math.nan if value is None else value for name, value in kept["figures"].items()}  # as JSON has it
    return ModelFaults(figures, kept["rounds"], kept["left_out"])


def _cell(name: str, value: float) -> str:
    said = verdict(name, value)
    return f"{value:.4g} {said}" if said in ("odd", "bad") else f"{value:.4g}"


def _begun(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of an earlier run under the same settings, or a new one."""
    path = folder / "faults.json"
    if not path.is_file():
        return {"settings": settings, "models": {}}
    record = json.loads(path.read_text("utf-8"))
    if record["settings"] != settings:
        raise ConfigError(f"`save_dir` {folder}: holds a fault suite under other settings; name another folder")
    return record


def _one(ae: Autoencoder, tiling: Tiling, rounds: int, show: Callable[[Progress], None] | None) -> ModelFaults:
    figures = drain(faults_steps(ae, tiling), show)
    ways, left_out = {"as it is run": tiling}, {}
    ways["in small tiles"] = replace(tiling, tiling_mode="tiles", spatial_tile_size=SMALL_TILE)
    frames = open_clip(CLIP, POLICY, ae.spatial_stride).read()
    done: dict[str, list[dict[str, float]]] = {}
    for way, asked in ways.items() if rounds else ():
        try:
            done[way] = [asdict(one) for one in drain(rounds_steps(ae, frames, rounds, asked), show)]
        except ConfigError as error:
            left_out[way] = str(error)
    if rounds and ae.dtype != torch.bfloat16:
        half = ae.to(torch.bfloat16)
        done["in bfloat16"] = [asdict(one) for one in drain(rounds_steps(half, frames, rounds, tiling), show)]
    return ModelFaults(figures, done, left_out)
