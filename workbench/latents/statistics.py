"""Mean and standard deviation per channel of the latents of a data set, over all ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import DataError, WorkbenchError
from workbench.latents.clips import OnClip, encode_file_steps, policy_record
from workbench.media.policy import ClipPolicy
from workbench.models.base import Autoencoder
from workbench.models.latent_moments import LatentMoments, LatentStatistics
from workbench.ranks import Lockstep
from workbench.steps import drain
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class StatisticsReport:
    """The statistics of all ranks, and the clips left out with the reasons; both the same for every number of ranks."""

    statistics: LatentStatistics
    failures: dict[Path, str]


def gather_statistics(
    ae: Autoencoder,
    clips: Sequence[Path],
    policy: ClipPolicy,
    tiling: Tiling,
    identity: dict[str, Any],
    ranks: Lockstep,
    on_clip: OnClip | None = None,
) -> StatisticsReport:
    """Encode every clip as `encode_dataset` does and gather the moments of all latents, each value counting once.

    Latents that padding to legal sizes adds are among them, as they are in what is stored.

    Args:
        identity: of the model, see `identity_of`.

    Raises:
        ConfigError: a tile size is not legal for the model.
        DataError: no clip could be encoded.
    """
    moments = LatentMoments(ae.latent_channels)
    failures: dict[Path, str] = {}
    mine = clips[ranks.world.rank :: ranks.world.size]
    for done, path in enumerate(mine, 1):
        choice = None
        try:
            _, latents, choice = drain(encode_file_steps(ae, path, policy, tiling))
            moments.update(latents[None])
        except WorkbenchError as error:
            failures[path] = str(error)
        if on_clip:
            on_clip(failures.get(path), choice, done, len(mine))
    merged = LatentMoments(ae.latent_channels)
    failed: dict[Path, str] = {}
    for part, failures_there in ranks.gather_values((moments, failures)):
        merged.merge(part)
        failed |= failures_there
    if not merged.count:
        raise DataError(f"no clip could be encoded: {next(iter(failed.values()))}")
    record = {**policy_record(policy, tiling, ae), "clips": len(clips) - len(failed)}
    return StatisticsReport(LatentStatistics.of(merged, **identity, policy=record), failed)
