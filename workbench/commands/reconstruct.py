"""`python -m workbench reconstruct`: clips in; originals, reconstructions and what was lost out."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from workbench.cli import Command
from workbench.commands.settings import DEVICE_HELP, DTYPE_HELP, MODEL_ALIASES, ModelSettings
from workbench.compare.tables import frame_rows, text_table, write_csv, write_json
from workbench.config import override, setting, to_dict
from workbench.data.index import read_index
from workbench.data.source import ClipPolicy
from workbench.errors import ConfigError, MediaError, WorkbenchError
from workbench.media import list_media, probe, quoted
from workbench.metrics import lpips_available, lpips_backbone_path, summarise
from workbench.models.base import Autoencoder
from workbench.models.tiled import Progress, drain, encode_plan
from workbench.reconstruct import FileReport, Outputs, reconstruct_file_steps
from workbench.tiling import Tiling

INDEX_EXTENSIONS = (".csv", ".parquet")
"""Index files that `reconstruct` takes, as `python -m workbench index` writes them."""


@dataclass(frozen=True)
class ReconstructConfig(ClipPolicy):
    """Settings of `python -m workbench reconstruct`."""

    model: ModelSettings = ModelSettings()
    preset: str | None = setting(None, "published inference settings: video_dc_ae or hunyuan_vae")
    save_dir: str = setting("samples", "folder for the results, one folder a clip")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)
    lossless: bool = setting(False, "write bit-exact FFV1 (.mkv) instead of H.264 (.mp4)")
    side_by_side: bool = setting(True, "write a video of original and reconstruction beside each other")


PRESETS: dict[str, dict[str, Any]] = {
    "video_dc_ae": {
        "model.name": "video_dc_ae",
        "model.spatial_tile_size": 256,
        "model.temporal_tile_size": 32,
        "resolution": "512px_ar1:1",
        "num_frames": 96,
        "fps_max": 16.0,
        "dtype": "bfloat16",
        "save_dir": "samples/video_dc_ae",
    },
    "hunyuan_vae": {
        "model.name": "hunyuan_vae",
        "model.scale_factor": 0.476986,
        "resolution": "512px_ar1:1",
        "num_frames": 97,
        "fps_max": 16.0,
        "dtype": "bfloat16",
        "save_dir": "samples/hunyuanvideo_vae",
    },
}
"""The inference settings published with Open-Sora 2.0, by name; both tilings are on as they are by default."""


def with_preset(flags: Mapping[str, Any]) -> ReconstructConfig:
    """The starting configuration that `--preset` asks for."""
    config = ReconstructConfig()
    name = flags.get("preset")
    if name is None:
        return config
    if name not in PRESETS:
        raise ConfigError(f"--preset: {name!r} is not one of {', '.join(PRESETS)}")
    return override(config, PRESETS[name])


def run_reconstruct(config: ReconstructConfig, *inputs: str) -> None:
    """Reconstruct clips and write originals, reconstructions, side-by-side videos and metrics."""
    files = find_inputs(inputs)
    ae = config.model.load(config.device, config.dtype)
    if not lpips_available():
        print(f"LPIPS is left out: its backbone is not at {lpips_backbone_path()}", file=sys.stderr)
    rows, failures = [], []
    for number, path in enumerate(files, 1):
        try:
            rows.append(_reconstruct_one(config, ae, path, f"{number}/{len(files)} {path.name}"))
        except WorkbenchError as error:
            if len(files) == 1:
                raise
            failures.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    if rows:
        folder = Path(config.save_dir)
        write_csv(folder / "summary.csv", rows)
        print(f"\n{text_table(rows)}\n\nresults in {folder}")
    if failures:
        raise MediaError(f"{len(failures)} of {len(files)} inputs were skipped, see above")


def find_inputs(inputs: Sequence[str]) -> list[Path]:
    """The media files that these arguments name: files, folders (not recursive) and CSV or Parquet indexes.

    Raises:
        MediaError: there is no input, or a folder or index holds none.
    """
    if not inputs:
        raise MediaError("nothing to reconstruct: give a video, a photo, a folder or a CSV index")
    files = [path for word in inputs for path in _expand(Path(word))]
    if not files:
        raise MediaError(f"{', '.join(inputs)}: no video or photo in there")
    return files


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from list_media(path)
    elif path.suffix.lower() in INDEX_EXTENSIONS:
        yield from (Path(clip.path) for clip in read_index(path).clips)
    else:
        yield path


def _reconstruct_one(config: ReconstructConfig, ae: Autoencoder, path: Path, label: str) -> dict[str, Any]:
    """Reconstruct one clip into its own folder; returns its row of the summary."""
    is_image = probe(path).is_image
    folder = _folder_for(Path(config.save_dir), path)
    extension = ".png" if is_image else ".mkv" if config.lossless else ".mp4"
    names = ["reconstruction", "original"] + ["side_by_side"] * config.side_by_side
    outputs = Outputs(**{name: folder / (name + extension) for name in names})
    steps = reconstruct_file_steps(ae, path, outputs, config.model, config, lpips_available())
    with _Bar(desc=label, unit="tile", dynamic_ncols=True) as bar:
        report = drain(steps, bar.show)
    for warning in report.warnings:
        print(f"warning: {quoted(path)}: {warning}", file=sys.stderr)
    print(_compression(ae, report, config.model), file=sys.stderr)
    _write_metrics(folder, report, config)
    return _summary_row(report)


def _compression(ae: Autoencoder, report: FileReport, tiling: Tiling) -> str:
    """What the clip became and what tiling it cost, in one line."""
    size = report.num_frames, report.height, report.width
    plan = encode_plan(ae, *size, tiling)
    volume, latents = math.prod(size), "x".join(map(str, report.latent_shape))
    ratio = 3 * volume / math.prod(report.latent_shape)
    cost = f"{len(plan)} tiles reading {plan.input_volume / volume:.2f} times the clip"
    return f"{quoted(report.source)}: latents {latents}, {ratio:.1f} times fewer values; {cost}"


class _Bar(tqdm):
    """A progress bar over the tiles of both stages, with the time left."""

    def show(self, progress: Progress) -> None:
        """One more tile is done; decoding takes as many tiles as encoding."""
        self.total = 2 * progress.total
        self.update()


def _folder_for(save_dir: Path, path: Path) -> Path:
    """The clip's own folder under `save_dir`: that of an earlier run on the same file, or a new one."""
    number = 1
    while True:
        folder = save_dir / (path.stem if number == 1 else f"{path.stem}-{number}")
        if not folder.exists() or _source_of(folder) == str(path.resolve()):
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number += 1


def _source_of(folder: Path) -> str | None:
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, KeyError):
        return None


def _write_metrics(folder: Path, report: FileReport, config: ReconstructConfig) -> None:
    record = asdict(report) | {"source": str(report.source.resolve()), "settings": to_dict(config)}
    record["summary"] = {name: asdict(summary) for name, summary in summarise(report.metrics).items()}
    write_json(folder / "metrics.json", record)
    write_csv(folder / "metrics.csv", frame_rows(report.metrics))


def _summary_row(report: FileReport) -> dict[str, Any]:
    means = {name: summary.mean for name, summary in summarise(report.metrics).items()}
    return {
        "clip": report.source.name,
        "frames": report.num_frames,
        "size": f"{report.width}x{report.height}",
        **means,
        "encode_s": report.encode_s,
        "decode_s": report.decode_s,
    }


COMMAND = Command(
    "Reconstruct videos and photos and measure what was lost.",
    ReconstructConfig(),
    run_reconstruct,
    words="FILE_OR_FOLDER_OR_CSV",
    aliases=MODEL_ALIASES,
    base=with_preset,
)
