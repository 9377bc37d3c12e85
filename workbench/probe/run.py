"""Probes of every model on the same clips, over all ranks: what is missing is computed, what is there is kept."""

import csv
import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.devices import pick_dtype
from workbench.errors import ConfigError, WeightsError, WorkbenchError
from workbench.files import quoted
from workbench.latents.clips import encode_clip
from workbench.media.index import read_index
from workbench.media.policy import SIDE_MULTIPLE
from workbench.media.whole import read_clip_steps
from workbench.metrics.fvd import I3DFeatures
from workbench.models.base import Autoencoder
from workbench.models.identity import model_facts
from workbench.models.ref import ModelRef, parse_models
from workbench.probe.eyes import Looking
from workbench.probe.generator import NEEDS_TWO
from workbench.probe.measure import SpaceProbes, probe_clip
from workbench.probe.semantics import clip_features
from workbench.probe.settings import ProbeSettings
from workbench.probe.spaces import probe_spaces
from workbench.probe.store import ProbeStore
from workbench.ranks import World, gather_on_main
from workbench.steps import Progress, drain
from workbench.vision.base import VisionNetwork
from workbench.vision.load import load_vision
from workbench.words import counted

_VERSION = 2  # of the files in a probe's folder

OnClip = Callable[[str, Path, str | None, int, int], None]
"""Called after a clip: the model's label, the clip, why it was left out, and how many of how many are done."""


@dataclass(frozen=True)
class Probed:
    """What was found, on rank 0; a model that could encode no clip is among the failures only.

    Attributes:
        spaces: by the model's label, and of the white noise that is their control.
        clips: how many clips every model has.
    """

    policy: dict[str, Any]
    spaces: dict[str, SpaceProbes]
    clips: int
    failures: dict[tuple[str, Path], str]

    @property
    def told_clips(self) -> str:
        """How many, in words."""
        return counted(self.clips, "clip")


def probe(
    settings: ProbeSettings,
    clips: Sequence[Path],
    world: World,
    dtype: str | None = None,
    labels: dict[Path, str] | None = None,
    on_clip: OnClip | None = None,
    on_progress: Callable[[str, Progress], None] | None = None,
) -> Probed | None:
    """Probe all models; every rank calls it, with a folder for the results that all of them see.

    Rank i encodes the clips i, i + world.size, ...; the latents of all clips are then probed by rank 0.

    Args:
        labels: what each clip shows, for LNC.
        on_progress: called with a label while its latents are probed.

    Returns:
        What was found on rank 0, None on the others.

    Raises:
        ConfigError: the folder holds results under another policy, no clip could be encoded by every model, or there is
            one clip and a generator is asked for.
        WeightsError: weights of a model, or of the vision network, are missing or do not fit.
    """
    entries, kind = parse_models(settings.models), pick_dtype(dtype, world.device)
    if settings.generator_steps and len(clips) < 2:
        raise ConfigError(NEEDS_TWO)
    store = ProbeStore(Path(settings.save_dir).expanduser())
    policy = _policy(settings, world.device, kind)
    facts = {entry.label: model_facts(entry, settings.model, world.device, kind) for entry in entries}
    looking = _looking(settings, world.device)
    store.check(policy, facts)  # on every rank, before any of them writes
    if world.is_main:
        store.begin(policy, facts)
    failures = _encode_all(
        settings, entries, clips[world.rank :: world.size], store, looking.vision, world, kind, on_clip
    )
    parts = gather_on_main(failures, world)
    if parts is None:
        return None
    merged = {key: reason for part in parts for key, reason in part.items()}
    able = [entry for entry in entries if any(store.figures(entry.label, clip) is not None for clip in clips)]
    common = [clip for clip in clips if all(store.figures(entry.label, clip) is not None for entry in able)]
    if not able or not common:
        raise ConfigError("no clip could be encoded by every model: " + next(iter(merged.values()), "there is none"))
    kinds = [labels[clip] for clip in common] if labels else None
    found = probe_spaces(settings, able, store, common, kinds, looking, world.device, kind, on_progress)
    return Probed(policy, dict(found), len(common), merged)


def _looking(settings: ProbeSettings, device: torch.device) -> Looking:
    try:
        vision = load_vision(settings.vision, device) if settings.vision else None
    except WeightsError as error:
        raise WeightsError(f"`vision`: {error}") from None
    return Looking(vision, I3DFeatures(device) if settings.fvd else None)


def read_labels(index: str, column: str, clips: Sequence[Path]) -> dict[Path, str]:
    """What each clip shows, by a column of a .csv index.

    Raises:
        ConfigError: the index is none, or does not have the column or a clip.
    """
    path = Path(index)
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"`labels`: {quoted(path)} is no .csv index, which would have a column {column!r}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or column not in rows[0]:
        raise ConfigError(f"`labels`: {quoted(path)} has no column {column!r}")
    base = read_index(path).base or path.parent
    found = {(base / row["path"]).resolve(): row[column] for row in rows if row.get("path")}
    missing = next((clip for clip in clips if clip.resolve() not in found), None)
    if missing is not None:
        raise ConfigError(f"`labels`: {quoted(path)} does not say what {quoted(missing)} shows")
    return {clip: found[clip.resolve()] for clip in clips}


def _encode_all(
    settings: ProbeSettings,
    entries: Sequence[ModelRef],
    clips: Sequence[Path],
    store: ProbeStore,
    vision: VisionNetwork | None,
    world: World,
    dtype: torch.dtype,
    on_clip: OnClip | None,
) -> dict[tuple[str, Path], str]:
    """This rank's clips through every model, one model after the other; returns why clips were left out."""
    failures = {}
    total, done = len(entries) * len(clips), 0
    for entry in entries:
        ae = None
        for clip in clips:
            reason = None
            if not (clip.is_file() and store.figures(entry.label, clip) is not None):
                ae = ae or entry.load(world.device, dtype)
                reason = _encode_one(settings, ae, entry.label, clip, store, vision)
            if reason is not None:
                failures[entry.label, clip] = reason
            done += 1
            if on_clip:
                on_clip(entry.label, clip, reason, done, total)
        del ae
        gc.collect()  # two models need not fit at once
    return failures


def _encode_one(
    settings: ProbeSettings, ae: Autoencoder, label: str, path: Path, store: ProbeStore, vision: VisionNetwork | None
) -> str | None:
    try:
        clip, frames = drain(read_clip_steps(path, settings, SIDE_MULTIPLE))
        tensors = {"latents": encode_clip(ae, clip, settings.model)}
        if vision is not None:
            tensors["features"] = clip_features(vision, ae, frames)
        store.save(label, path, tensors, drain(probe_clip(ae, frames, settings.model)))
    except WorkbenchError as error:
        return str(error)
    return None


def _policy(settings: ProbeSettings, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    record = {"dtype": str(dtype).removeprefix("torch."), "device": name, "side_multiple": SIDE_MULTIPLE}
    record["vision"] = settings.vision or "none"
    return {**settings.record(), **asdict(settings.model), **record, "version": _VERSION}
