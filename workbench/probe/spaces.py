"""All latents of each model together, once every clip is encoded: on one rank, one space after the other."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.media.policy import SIDE_MULTIPLE
from workbench.media.whole import read_clip_steps
from workbench.models.base import Autoencoder
from workbench.models.ref import ModelRef
from workbench.probe.blocks import Cut
from workbench.probe.catalogue import WHITE_NOISE, left_out
from workbench.probe.channels import channels_of
from workbench.probe.decoded import Space, decoded_distances
from workbench.probe.eyes import Looking, blocks_for
from workbench.probe.measure import SpaceProbes, probe_space
from workbench.probe.settings import ProbeSettings
from workbench.probe.store import ProbeStore
from workbench.steps import Progress, drain


def probe_spaces(
    settings: ProbeSettings,
    entries: Sequence[ModelRef],
    store: ProbeStore,
    clips: Sequence[Path],
    labels: Sequence[str] | None,
    looking: Looking,
    device: torch.device,
    dtype: torch.dtype,
    on_progress: Callable[[str, Progress], None] | None = None,
) -> Iterator[tuple[str, SpaceProbes]]:
    """What was found of each model's latents of all clips, by its label, and of white noise of the first one's shape.

    Args:
        labels: what each clip shows, for LNC.
        looking: at clips and at what is decoded.
    """
    cuts: list[Cut] = []
    for entry in [*entries, None]:
        label = entry.label if entry else WHITE_NOISE
        stored = [store.tensors(entry.label if entry else entries[0].label, clip) for clip in clips]
        latents = [tensors["latents"] for tensors in stored]
        features = [tensors["features"] for tensors in stored] if looking.vision is not None else None
        ae = entry.load(device, dtype) if entry and (settings.generator_steps or settings.ifid) else None
        if entry is None:
            latents = noise_like(latents)
        else:
            cuts.append(blocks_for(ae, settings.fvd) if ae else Cut())
        how = cuts[-1] if entry else cuts[0]
        steps = probe_space(latents, labels, settings.generator_steps, device, features, how)
        found = drain(steps, partial(on_progress, label) if on_progress else None)
        if entry is not None:
            figures = [known for known in (store.figures(label, clip) for clip in clips) if known is not None]
            add_clips(found, figures)
            if ae is not None:
                sizes: list[tuple[int, int, int]] = [tuple(known["size"]) for known in figures]
                _add_decoded(found, settings, ae, latents, clips, sizes, how, looking)
        yield label, found
        del ae
        gc.collect()  # two models need not fit at once


def _add_decoded(
    found: SpaceProbes,
    settings: ProbeSettings,
    ae: Autoencoder,
    latents: Sequence[Tensor],
    clips: Sequence[Path],
    sizes: Sequence[tuple[int, int, int]],
    how: Cut,
    looking: Looking,
) -> None:
    """Fréchet distances of what is decoded, or why there are none."""

    def frames(index: int) -> Tensor:
        return drain(read_clip_steps(clips[index], settings, SIDE_MULTIPLE))[1]

    space = Space(ae, settings.model, latents, channels_of(latents), sizes, frames, how)
    distances = decoded_distances(space, looking.eyes(ae), found.generator, settings.ifid)
    found.figures.update(distances.figures)
    found.seconds.update(distances.seconds)
    found.notes.extend(distances.notes)


def noise_like(latents: Sequence[Tensor]) -> list[Tensor]:
    """Normal noise of the shape of each clip's latents: the control."""
    random = torch.Generator().manual_seed(0)
    return [torch.randn(clip.shape, generator=random) for clip in latents]


def add_clips(found: SpaceProbes, clips: Sequence[Mapping[str, Any]]) -> None:
    """Means over clips of what needed the model."""
    for name in ("robustness", "equivariance"):
        found.curves[name] = _means([clip[name] for clip in clips])
        found.seconds[name] = sum(clip["seconds"][name] for clip in clips)
    found.curves["pixels"] = {axis: _mean_curve([clip["pixels"][axis] for clip in clips]) for axis in ("space", "time")}
    robust, errors = found.curves["robustness"], found.curves["equivariance"]
    found.figures["noise_1_psnr"] = robust["noise 1"]
    found.figures["noise_loss_db"] = robust["noise 0"] - robust["noise 0.25"]
    between = [clip["between_frames_psnr"] for clip in clips if clip["between_frames_psnr"] is not None]
    of_clips = {
        "between_frames_psnr": sum(between) / len(between) if between else float("nan"),
        "equivariance": sum(errors.values()) / len(errors) if errors else float("nan"),
    }
    found.figures.update({name: value for name, value in of_clips.items() if not isnan(value)})
    found.notes.extend(left_out(of_clips))


def _means(records: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record)
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(known) / len(known) for name, known in values.items()}


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float]:
    columns = ([value for value in column if value is not None] for column in zip(*curves, strict=True))
    return [sum(column) / len(column) if column else float("nan") for column in columns]
