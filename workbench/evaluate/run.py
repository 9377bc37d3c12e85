"""Every model on every clip, over all ranks: what is missing is computed, what is there is kept."""

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.devices import pick_dtype
from workbench.errors import WorkbenchError
from workbench.evaluate.clip import ClipResult, Instruments, evaluate_clip, warm_up
from workbench.evaluate.policy import policy_record
from workbench.evaluate.settings import SIDE_MULTIPLE, EvaluateSettings, folder_of, parse_models
from workbench.evaluate.store import ResultStore
from workbench.media.source import open_clip
from workbench.metrics.fvd import FeatureNetwork
from workbench.metrics.lpips import load_lpips_if_available
from workbench.metrics.warp import require_optical_flow
from workbench.models.base import Autoencoder
from workbench.models.identity import weights_digest
from workbench.models.plans import tile_plans
from workbench.models.ref import ModelRef
from workbench.ranks import World, gather_on_main
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class Task:
    """One model on one clip."""

    entry: ModelRef
    clip: Path


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, on rank 0.

    Attributes:
        policy: what was the same for all, see `policy_record`.
        facts: by the model's label, see `model_facts`.
        results: by label, then by clip.
        failures: reason by label and clip.
    """

    policy: dict[str, Any]
    facts: dict[str, dict[str, Any]]
    results: dict[str, dict[Path, ClipResult]]
    failures: dict[tuple[str, Path], str]


def evaluate(
    settings: EvaluateSettings,
    clips: Sequence[Path],
    world: World,
    dtype: str | None = None,
    on_task: Callable[[Task, ClipResult | str, int, int], None] | None = None,
) -> tuple[ResultStore, Evaluation | None]:
    """Evaluate all models on all clips; every rank calls it, with a folder for the results that all of them see.

    Rank i takes the clips i, i + world.size, ... A clip that fails is left out and named; it is tried again next time.

    Args:
        clips: media files, each once.
        on_task: called on every rank after a model finished a clip, with the result or the reason of its failure, and
            with how many of how many of the rank's tasks are done. Tasks finished in an earlier run are not reported.

    Returns:
        The store, and on rank 0 the evaluation (None on the others).

    Raises:
        ConfigError: the folder holds results under another policy or of other weights, a tile size is not legal, or
            what an option needs is not installed.
        WeightsError: weights of a model or of a network are missing or do not fit. All are looked at before any clip.
    """
    entries, dtype = parse_models(settings.models), pick_dtype(dtype, world.device)
    instruments = _instruments(settings, world.device)
    policy = policy_record(settings, world.device, dtype, instruments)
    store = ResultStore(folder_of(settings))
    store.check_policy(policy)
    facts = {}
    for entry in entries:
        facts[entry.label] = model_facts(entry, settings.model, world.device, dtype)
        store.check_model(facts[entry.label])
    if world.is_main:
        store.begin(policy, facts)
    mine = clips[world.rank :: world.size]
    pending = [Task(entry, clip) for entry in entries for clip in mine if not _is_done(store, entry, clip)]
    failures = _run(pending, settings, store, instruments, world, dtype, on_task)
    parts = gather_on_main(failures, world)
    if parts is None:
        return store, None
    results = {entry.label: _load_all(store, entry, clips) for entry in entries}
    return store, Evaluation(policy, facts, results, {key: reason for part in parts for key, reason in part.items()})


def _instruments(settings: EvaluateSettings, device: torch.device) -> Instruments:
    """What the settings ask for, loaded."""
    if settings.warp_error:
        require_optical_flow()
    fvd = FeatureNetwork(settings.fvd_network, device) if settings.fvd_network is not None else None
    return Instruments(load_lpips_if_available(device), fvd, ("warp_error",) if settings.warp_error else ())


def model_facts(entry: ModelRef, tiling: Tiling, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Size, strides and tiles of a model, and a digest of its weights; the model is loaded for it.

    Raises:
        ConfigError: a tile size is not legal for the model.
        WeightsError: its weights are missing or do not fit.
    """
    ae = entry.load(device, dtype)
    tile_plans(ae, ae.legal_frames(2), 1, 1, tiling)  # refuses illegal tile sizes
    pixels = (tiling.spatial_tile_size or ae.default_tile_pixels) if tiling.use_spatial_tiling else None
    frames = (tiling.temporal_tile_size or ae.default_tile_frames) if tiling.use_temporal_tiling else None
    return {
        "model": entry.label,
        "random_weights": entry.weights == "random",
        "parameters": sum(parameter.numel() for parameter in ae.parameters()),
        "latent_channels": ae.latent_channels,
        "temporal_stride": ae.temporal_stride,
        "spatial_stride": ae.spatial_stride,
        "causal": ae.causal,
        "spatial_tile_size": pixels,
        "temporal_tile_size": frames,
        "weights_sha256": weights_digest(ae),
    }


def _run(
    tasks: Sequence[Task],
    settings: EvaluateSettings,
    store: ResultStore,
    instruments: Instruments,
    world: World,
    dtype: torch.dtype,
    on_task: Callable[[Task, ClipResult | str, int, int], None] | None,
) -> dict[tuple[str, Path], str]:
    """Work through this rank's tasks, a model at a time; returns the failures."""
    failures: dict[tuple[str, Path], str] = {}
    entry, ae = None, None
    for done, task in enumerate(tasks, 1):
        if task.entry != entry:
            del ae
            gc.collect()  # two models need not fit at once
            entry, ae = task.entry, task.entry.load(world.device, dtype)
            warm_up(ae)
        outcome = _run_one(ae, task, settings, store, instruments, world.size)
        if isinstance(outcome, str):
            failures[entry.label, task.clip] = outcome
        if on_task:
            on_task(task, outcome, done, len(tasks))
    return failures


def _run_one(
    ae: Autoencoder,
    task: Task,
    settings: EvaluateSettings,
    store: ResultStore,
    instruments: Instruments,
    ranks: int,
) -> ClipResult | str:
    """The kept result of one task, or why there is none."""
    try:
        clip = open_clip(task.clip, settings, SIDE_MULTIPLE)
        evaluation = evaluate_clip(ae, clip, settings.model, instruments, ranks)
    except WorkbenchError as error:
        return str(error)
    store.save(task.entry.label, task.clip, evaluation)
    return evaluation.result


def _is_done(store: ResultStore, entry: ModelRef, clip: Path) -> bool:
    return clip.is_file() and store.load(entry.label, clip) is not None


def _load_all(store: ResultStore, entry: ModelRef, clips: Iterable[Path]) -> dict[Path, ClipResult]:
    found = {clip: store.load(entry.label, clip) for clip in clips if clip.is_file()}
    return {clip: result for clip, result in found.items() if result is not None}
