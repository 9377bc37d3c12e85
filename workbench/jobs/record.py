"""metrics.json and metrics.csv: all that is known of one reconstruction."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.compare.tables import frame_rows
from workbench.files import write_csv, write_json
from workbench.metrics.lpips import LPIPS
from workbench.metrics.measure import summarise
from workbench.models.base import Autoencoder
from workbench.models.identity import model_record
from workbench.models.plans import tile_plans
from workbench.roundtrip.result import FileReport
from workbench.stages import LocalStage
from workbench.tile_settings import Tiling


def write_metrics(
    beginning: str,
    report: FileReport,
    ae: Autoencoder,
    tiling: Tiling,
    settings: Mapping[str, Any],
    lpips: LPIPS | None,
    ranks: int,
    hide_folders: bool,
) -> tuple[Path, Path]:
    """Write BEGINNING.csv, a row a frame, and BEGINNING.json: the report, the settings, and what was used.

    Args:
        beginning: of their names, with their folder.
        settings: what was asked for, as plain values.
        lpips: the network that LPIPS was measured with.
        ranks: how many shared the work.
        hide_folders: name clip and weights without their folders, which are a server's business.

    Returns:
        The paths of the two.

    Raises:
        FileError: they cannot be written.
    """
    csv_path, json_path = Path(f"{beginning}.csv"), Path(f"{beginning}.json")
    write_csv(csv_path, frame_rows(report.metrics, report.timestamps_s))
    size = report.num_frames, report.height, report.width
    tiles = len(tile_plans(ae, *size, tiling)[0]) if report.ran.tiling_mode == "tiles" else None
    used = model_record(ae, tiling) | {
        **asdict(report.ran),
        "tiles": tiles,
        "ranks": ranks,
        "lpips_every": lpips and lpips.every,
    }
    if tiles is None and all(isinstance(stage, LocalStage) for stage in ae.encode_stages()):
        used |= {"spatial_tile_size": None, "temporal_tile_size": None}  # nothing of it was cut
    source = report.source.name if hide_folders else str(report.source.resolve())
    if hide_folders and ae.weights_path:
        used["weights"] = ae.weights_path.name
    record = asdict(report) | {"source": source, "settings": dict(settings), "used": used, "summary": _summary(report)}
    del record["ran"]  # is in `used`, with all else that was left to defaults
    write_json(json_path, record)
    return csv_path, json_path


def add_metric(csv_path: Path, json_path: Path, report: FileReport, lpips_every: int) -> None:
    """Write both files of `write_metrics` anew, with a metric that was measured after them.

    Raises:
        FileError: they cannot be written.
    """
    write_csv(csv_path, frame_rows(report.metrics, report.timestamps_s))
    record = json.loads(json_path.read_text(encoding="utf-8"))
    record |= {"metrics": report.metrics, "summary": _summary(report)}
    record["used"]["lpips_every"] = lpips_every
    write_json(json_path, record)


def _summary(report: FileReport) -> dict[str, dict[str, float]]:
    return {name: asdict(value) for name, value in summarise(report.metrics).items()}
