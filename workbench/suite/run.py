"""All models through the fault suite, and what came of it as files; a model that is done is not run again."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from workbench.errors import ConfigError, NonFiniteError
from workbench.files import write_csv, write_errors, write_json, write_text
from workbench.media.files import EXAMPLES
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.models.base import Autoencoder
from workbench.models.identity import model_facts
from workbench.models.ref import ModelRef
from workbench.steps import Progress, Steps, drain
from workbench.suite.measure import faults_steps, shown, verdict
from workbench.suite.page import PAGE, suite_html
from workbench.suite.reading import require_tesseract
from workbench.suite.rounds import rounds_steps
from workbench.tile_settings import Tiling

CLIP = EXAMPLES / "bunny.mp4"
POLICY = ClipPolicy(resolution="192px_ar1:1", max_frames=16)
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
    ocr: bool,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    on_progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, ModelFaults]:
    """Run the suite and write faults.json, faults.csv and faults.html; those of a model as soon as it is done.

    Args:
        rounds: of decoding and encoding again; 0 for none.
        ocr: whether text is read too, see `reading`.

    Raises:
        ConfigError: a tile size is not legal, the folder has results under other settings, or Tesseract is missing.
        WeightsError: weights are missing or do not fit.
        FileError: a file cannot be written.
    """
    if ocr:
        require_tesseract()
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    record = _begun(folder, {"tiling": asdict(tiling), "rounds": rounds, "ocr": ocr, "dtype": str(dtype)})
    for entry in entries:
        facts = model_facts(entry, tiling, device, dtype)
        known = record["models"].get(entry.label)
        if known is None or known["facts"] != facts:
            show = partial(on_progress, entry.label) if on_progress else None
            found = drain(model_faults_steps(entry.load(device, dtype), tiling, rounds, ocr), show)
            record["models"][entry.label] = {"facts": facts} | asdict(found)
            write_json(folder / "faults.json", record)
    models = {entry.label: _read(record["models"][entry.label]) for entry in entries}
    write_csv(folder / "faults.csv", [{"model": label} | one.figures for label, one in models.items()])
    write_text(folder / PAGE, suite_html(plain(models)))
    return models


def plain(models: Mapping[str, ModelFaults]) -> dict[str, dict[str, Any]]:
    """What the page takes."""
    return {label: asdict(one) for label, one in models.items()}


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
    return f"{shown(name, value)} {said}" if said in ("odd", "bad") else shown(name, value)


def _begun(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of an earlier run under the same settings, or a new one."""
    path = folder / "faults.json"
    if not path.is_file():
        return {"settings": settings, "models": {}}
    try:
        record = json.loads(path.read_text("utf-8"))
        before = record["settings"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"`save_dir` {folder}: its faults.json is damaged; delete it, or name another folder"
        ) from None
    if before != settings:
        raise ConfigError(f"`save_dir` {folder}: holds a fault suite under other settings; name another folder")
    return record


def model_faults_steps(ae: Autoencoder, tiling: Tiling, rounds: int, ocr: bool = False) -> Steps[ModelFaults]:
    """Every figure of one model, and the rounds: as it is run, in small tiles, and in bfloat16 where it is not.

    The model is bfloat16 afterwards.

    Raises:
        ConfigError: a tile size is not legal.
    """
    figures = yield from faults_steps(ae, tiling, ocr)
    frames = open_clip(CLIP, POLICY, ae.spatial_stride).read()
    ways = {
        "as it is run": (tiling, ae.dtype),
        "in small tiles": (replace(tiling.in_mode("tiles"), spatial_tile_size=SMALL_TILE), ae.dtype),
        "in bfloat16": (tiling, torch.bfloat16),
    }
    if ae.dtype == torch.bfloat16:
        del ways["in bfloat16"]
    done, left_out = {}, {}
    for way, (asked, dtype) in ways.items() if rounds else ():
        try:
            found = yield from rounds_steps(ae.to(dtype), frames, rounds, asked)
            done[way] = [asdict(one) for one in found]
        except (ConfigError, NonFiniteError) as error:
            left_out[way] = str(error)
    return ModelFaults(figures, done, left_out)
