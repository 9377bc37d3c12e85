"""One reconstruction of the app: from what was chosen to files, figures and a table. Knows nothing of pages."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.compare.figures import metric_curves
from workbench.compare.tables import frame_rows, write_csv, write_json
from workbench.config import to_dict
from workbench.media import probe
from workbench.metrics import Summary, load_lpips_if_available, summarise
from workbench.models.base import Autoencoder
from workbench.reconstruct import FileReport, Outputs, reconstruct_file_steps
from workbench.steps import Steps
from workbench.ui.choices import Choices
from workbench.ui.player import ClipPair

DOWNLOADS = ("reconstruction", "side_by_side", "metrics_csv", "metrics_json")
"""The files that a visitor can take along, by name."""


@dataclass(frozen=True)
class JobResult:
    """What is shown of a finished job. `downloads` has a file for every name in DOWNLOADS."""

    report: FileReport
    summary: dict[str, Summary]
    pair: ClipPair
    curves: go.Figure
    downloads: dict[str, Path]


def reconstruct_job(choices: Choices, ae: Autoencoder, folder: Path) -> Steps[JobResult]:
    """Reconstruct into `folder`, yielding a Progress after every tile; closing it removes partial files.

    Raises:
        MediaError: the clip is missing or cannot be read, or the disk is full.
        ConfigError: a choice is not possible for this model or clip.
    """
    is_image = probe(choices.path).is_image
    extension = ".png" if is_image else ".mp4"
    stem = safe_stem(choices.path)
    outputs = Outputs(*(folder / f"{stem}_{what}{extension}" for what in (ae.name, "original", "side_by_side")))
    lpips = load_lpips_if_available(ae.device)
    report = yield from reconstruct_file_steps(ae, choices.path, outputs, choices.tiling, choices.policy, lpips)
    summary = summarise(report.metrics)
    csv_path, json_path = folder / f"{stem}_metrics.csv", folder / f"{stem}_metrics.json"
    write_csv(csv_path, frame_rows(report.metrics))
    write_json(json_path, _record(choices, report, summary))
    files = outputs.reconstruction, outputs.side_by_side, csv_path, json_path
    size = report.num_frames, report.fps, report.height, report.width
    return JobResult(
        report=report,
        summary=summary,
        pair=ClipPair(outputs.original, outputs.reconstruction, is_image, *size),
        curves=metric_curves({ae.name: report.metrics}),
        downloads=dict(zip(DOWNLOADS, files, strict=True)),
    )


def safe_stem(path: Path) -> str:
    """The beginning of the names of a job's files: letters, digits, dots and dashes of the clip's own name."""
    return re.sub(r"[^\w.-]+", "_", path.stem).strip("._")[:60] or "clip"


def _record(choices: Choices, report: FileReport, summary: Mapping[str, Summary]) -> dict[str, Any]:
    """metrics.json: all of the report, with the clip's name but not the server's folders."""
    tiling = choices.tiling and to_dict(choices.tiling)
    settings = {"tiling": tiling, "frames": to_dict(choices.policy), "device": choices.device}
    means = {name: asdict(value) for name, value in summary.items()}
    return asdict(report) | {"source": report.source.name, "settings": settings, "summary": means}
