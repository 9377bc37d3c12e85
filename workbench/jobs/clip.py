"""One file into its results: what the app and the command line both do with a clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.jobs.clip_folders import claimed_folder
from workbench.jobs.record import write_metrics
from workbench.media.policy import ClipPolicy
from workbench.media.reader import probe
from workbench.metrics.lpips import LPIPS
from workbench.models.base import Autoencoder
from workbench.ranks import Lockstep
from workbench.roundtrip.clip import reconstruct_file_steps
from workbench.roundtrip.outputs import Outputs
from workbench.roundtrip.progress import WRITE
from workbench.roundtrip.result import FileReport
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class Asked:
    """How clips are reconstructed and measured.

    Attributes:
        settings: what was asked for, as plain values, for the record.
        lpips: the network that LPIPS is measured with; None leaves it out.
    """

    tiling: Tiling
    policy: ClipPolicy
    settings: Mapping[str, Any]
    lpips: LPIPS | None


@dataclass(frozen=True)
class WrittenClip:
    """What came of one file, and the tables of its figures."""

    report: FileReport
    metrics_csv: Path
    metrics_json: Path

    @property
    def folder(self) -> Path:
        """Where the figures are."""
        return self.metrics_json.parent


def clip_job(
    ae: Autoencoder,
    source: Path,
    outputs: Outputs,
    asked: Asked,
    metrics: str,
    ranks: Lockstep | None = None,
    hide_folders: bool = False,
) -> Steps[WrittenClip]:
    """Reconstruct a file into `outputs`, and write its figures.

    Args:
        metrics: beginning of the two files of `write_metrics`, folder included.
        ranks: share the work; this is rank 0.
        hide_folders: see `write_metrics`.

    Raises:
        FileError: the clip is missing or cannot be read, or the disk is full.
        ConfigError: a choice is not possible for this model or clip.
    """
    report = yield from reconstruct_file_steps(ae, source, outputs, asked.tiling, asked.policy, asked.lpips, ranks)
    yield Progress(WRITE, 0, 1)
    world_size = ranks.world.size if ranks else 1
    files = write_metrics(metrics, report, ae, asked.tiling, asked.settings, asked.lpips, world_size, hide_folders)
    return WrittenClip(report, *files)


def folder_job(
    ae: Autoencoder,
    source: Path,
    save_dir: Path,
    asked: Asked,
    ranks: Lockstep | None,
    lossless: bool,
    side_by_side: bool,
) -> Steps[WrittenClip | None]:
    """A file into a folder of its own under `save_dir`: original, reconstruction, both beside each other, the worst
    frame and the figures. Ranks share the work; rank 0 writes, and the others get nothing. Errors as of `clip_job`.

    Args:
        lossless: write bit-exact FFV1 (.mkv) instead of H.264 (.mp4).
        side_by_side: whether to write the video of both.
    """
    if ranks and not ranks.world.is_main:
        yield from reconstruct_file_steps(ae, source, Outputs(), asked.tiling, asked.policy, ranks=ranks)
        return None
    extension = ".png" if probe(source).is_image else ".mkv" if lossless else ".mp4"
    names = ["reconstruction", "original"] + ["side_by_side"] * side_by_side
    with claimed_folder(save_dir, source) as folder:
        files = {name: folder / (name + extension) for name in names}
        outputs = Outputs(**files, worst_frame=folder / "worst_frame.png")
        return (yield from clip_job(ae, source, outputs, asked, f"{folder}/metrics", ranks))
