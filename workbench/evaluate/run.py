"""Every model on every clip, over all ranks: what is missing is computed, what is there is kept."""

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from workbench.devices import pick_dtype
from workbench.errors import WorkbenchError
from workbench.evaluate.clip import ClipResult, evaluate_clip, warm_up
from workbench.evaluate.instruments import Instruments, Original
from workbench.evaluate.policy import policy_record
from workbench.evaluate.protocols import PROTOCOLS
from workbench.evaluate.reencode import require_opencv
from workbench.evaluate.settings import EvaluateSettings, folder_of
from workbench.evaluate.store import ResultStore
from workbench.media.policy import SIDE_MULTIPLE
from workbench.media.source import ClipSource
from workbench.media.whole import read_clip_steps
from workbench.memory import available_memory
from workbench.metrics.fvd import FeatureNetwork, I3DFeatures
from workbench.metrics.i3d import load_i3d
from workbench.metrics.lpips import LPIPS, load_lpips, lpips_available, usual_every
from workbench.metrics.networks import network_path
from workbench.metrics.vmaf import Vmaf
from workbench.metrics.warp import require_optical_flow
from workbench.models.base import Autoencoder
from workbench.models.identity import model_facts
from workbench.models.ref import ModelRef, parse_models
from workbench.ranks import World, gather_on_main
from workbench.steps import Progress, drain


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
    on_progress: Callable[[Task, Progress], None] | None = None,
) -> tuple[ResultStore, Evaluation | None]:
    """Evaluate all models on all clips; every rank calls it, with a folder for the results that all of them see.

    Rank i takes the clips i, i + world.size, ... A clip that fails is left out and named; it is tried again next time.

    Args:
        clips: media files, each once.
        on_task: called on every rank after a model finished a clip, with the result or the reason of its failure, and
            with how many of how many of the rank's tasks are done. Tasks finished in an earlier run are not reported.
        on_progress: called after every tile and every few frames that were measured.

    Returns:
        The store, and on rank 0 the evaluation (None on the others).

    Raises:
        ConfigError: the folder holds results under another policy or of other weights, a tile size is not legal, or
            what an option needs is not installed.
        WeightsError: weights of a model or of a network are missing or do not fit. All are looked at before any clip.
    """
    entries, chosen = parse_models(settings.models), pick_dtype(dtype, world.device)
    instruments = _instruments(settings, world.device)
    policy = policy_record(settings, world.device, chosen, instruments)
    store = ResultStore(folder_of(settings))
    store.check_policy(policy)
    facts = {}
    for entry in entries:
        facts[entry.label] = model_facts(entry, settings.model, world.device, chosen)
        store.check_model(facts[entry.label])
    if world.is_main:
        store.begin(policy, facts)
    mine = clips[world.rank :: world.size]
    pending = [Task(entry, clip) for clip in mine for entry in entries if not _is_done(store, entry, clip)]
    together = _fit_together(facts.values(), world.device, chosen)
    if not together:
        pending.sort(key=lambda task: entries.index(task.entry))
    bench = _Bench(settings, store, instruments, world, chosen, together)
    failures = _run(pending, bench, on_task, on_progress)
    parts = gather_on_main(failures, world)
    if parts is None:
        return store, None
    results = {entry.label: _load_all(store, entry, clips) for entry in entries}
    return store, Evaluation(policy, facts, results, {key: reason for part in parts for key, reason in part.items()})


def _instruments(settings: EvaluateSettings, device: torch.device) -> Instruments:
    """What the settings ask for, loaded."""
    if settings.warp_error:
        require_optical_flow()
    every = settings.lpips_every or usual_every(device)
    perceptual = {
        name: load_lpips(device, backbone=backbone, every=every)
        for name, backbone in (("lpips", "vgg"), ("lpips_alex", "alex"))
        if lpips_available(backbone)
    }
    fvd: FeatureNetwork | I3DFeatures | None = I3DFeatures(device) if settings.fvd else None
    if settings.fvd_network is not None:
        fvd = FeatureNetwork(settings.fvd_network, device)
    return Instruments(
        perceptual,
        fvd,
        Vmaf(device, every) if settings.vmaf else None,
        ("warp_error",) if settings.warp_error else (),
        settings.protocols,
        _protocol_lpips(settings.protocols, device),
        load_i3d(device) if settings.protocols and network_path("i3d").is_file() else None,
    )


def _protocol_lpips(names: Sequence[str], device: torch.device) -> dict[tuple[str, bool], LPIPS]:
    """The networks that protocols take, of those that are here."""
    for name in names:
        if PROTOCOLS[name].written == "mp4v":
            require_opencv(name)
    ways = {(PROTOCOLS[name].lpips, PROTOCOLS[name].lpips_spatial) for name in names}
    return {
        (backbone, spatial): load_lpips(device, backbone=backbone, spatial=spatial)
        for backbone, spatial in ways
        if lpips_available(backbone)
    }


def _fit_together(facts: Iterable[dict[str, Any]], device: torch.device, dtype: torch.dtype) -> bool:
    """Whether all models may stay loaded, in a quarter of the free memory: every clip then goes through all of them,
    and what is known of the original is computed once. Otherwise one model after the other takes all clips."""
    return sum(one["parameters"] for one in facts) * dtype.itemsize < available_memory(device) / 4


@dataclass
class _Bench:
    """What one task after the other is done with.

    Attributes:
        together: whether models stay loaded.
        loaded: by label.
        original: the clip that is measured against, opened, and what is known of it.
    """

    settings: EvaluateSettings
    store: ResultStore
    instruments: Instruments
    world: World
    dtype: torch.dtype
    together: bool
    loaded: dict[str, Autoencoder] = field(default_factory=dict)
    original: tuple[Path, ClipSource, Original] | None = None

    def model(self, entry: ModelRef) -> Autoencoder:
        """The model, loaded once while it stays."""
        if entry.label not in self.loaded:
            if not self.together:
                self.loaded.clear()
                gc.collect()  # two models need not fit at once
            self.loaded[entry.label] = entry.load(self.world.device, self.dtype)
            warm_up(self.loaded[entry.label])
        return self.loaded[entry.label]

    def clip(self, path: Path) -> tuple[ClipSource, Original]:
        """The clip with its frames, read once for the models that follow each other."""
        if self.original is None or self.original[0] != path:
            self.original = None
            clip, frames = drain(read_clip_steps(path, self.settings, SIDE_MULTIPLE))
            keep = self.together and len(parse_models(self.settings.models)) > 1
            self.original = path, clip, Original(frames, self.instruments, clip.fps, keep)
        return self.original[1:]


def _run(
    tasks: Sequence[Task],
    bench: _Bench,
    on_task: Callable[[Task, ClipResult | str, int, int], None] | None,
    on_progress: Callable[[Task, Progress], None] | None,
) -> dict[tuple[str, Path], str]:
    """Work through this rank's tasks; returns the failures."""
    failures: dict[tuple[str, Path], str] = {}
    for done, task in enumerate(tasks, 1):
        outcome = _run_one(task, bench, partial(on_progress, task) if on_progress else None)
        if isinstance(outcome, str):
            failures[task.entry.label, task.clip] = outcome
        if on_task:
            on_task(task, outcome, done, len(tasks))
    return failures


def _run_one(task: Task, bench: _Bench, on_progress: Callable[[Progress], None] | None) -> ClipResult | str:
    """The kept result of one task, or why there is none."""
    ae = bench.model(task.entry)
    try:
        clip, original = bench.clip(task.clip)
        sample, tiling = bench.settings.sample_posterior, bench.settings.model
        with torch.random.fork_rng(enabled=sample):
            if sample:
                torch.manual_seed(0)
            evaluation = evaluate_clip(ae, clip, tiling, original, bench.world.size, sample, on_progress)
    except WorkbenchError as error:
        return str(error)
    bench.store.save(task.entry.label, task.clip, evaluation)
    return evaluation.result


def _is_done(store: ResultStore, entry: ModelRef, clip: Path) -> bool:
    return clip.is_file() and store.load(entry.label, clip) is not None


def _load_all(store: ResultStore, entry: ModelRef, clips: Iterable[Path]) -> dict[Path, ClipResult]:
    found = {clip: store.load(entry.label, clip) for clip in clips if clip.is_file()}
    return {clip: result for clip, result in found.items() if result is not None}
