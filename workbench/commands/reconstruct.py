"""`python -m workbench reconstruct`: clips in; originals, reconstructions and what was lost out."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from workbench.cli import Command
from workbench.commands.settings import DEVICE_HELP, DTYPE_HELP, MODEL_ALIASES, ModelSettings
from workbench.compare.tables import frame_rows, text_table, write_csv, write_json
from workbench.config import check_choice, override, setting, to_dict
from workbench.data.index import read_index
from workbench.data.source import ClipPolicy
from workbench.errors import MediaError
from workbench.media import list_media, probe, quoted
from workbench.media.files import write_errors
from workbench.metrics import load_lpips_if_available, lpips_backbone_path, summarise
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.reconstruct import FileReport, Outputs, reconstruct_file_steps
from workbench.steps import Progress, drain
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
    name = flags.get("preset")
    if name is None:
        return ReconstructConfig()
    check_choice("--preset", name, PRESETS)
    return override(ReconstructConfig(), PRESETS[name])


def run_reconstruct(config: ReconstructConfig, *inputs: str) -> None:
    """Reconstruct clips and write originals, reconstructions, side-by-side videos and metrics."""
    files = find_inputs(inputs)
    with write_errors(Path(config.save_dir)):
        Path(config.save_dir).mkdir(parents=True, exist_ok=True)
    ae = config.model.load(config.device, config.dtype)
    tile_plans(ae, ae.legal_frames(2), 1, 1, config.model)  # refuses illegal tile sizes
    lpips = load_lpips_if_available(ae.device)
    if lpips is None:
        print(f"LPIPS is left out: its backbone is not at {lpips_backbone_path()}", file=sys.stderr)
    rows, failures = [], 0
    for number, path in enumerate(files, 1):
        try:
            rows.append(_reconstruct_one(config, ae, lpips, path, f"{number}/{len(files)} {path.name}"))
        except MediaError as error:
            if len(files) == 1:
                raise
            failures += 1
            print(f"skipped: {error}", file=sys.stderr)
    if rows:
        write_csv(Path(config.save_dir) / "summary.csv", rows)
        print(f"\n{text_table(rows)}\n\nresults in {config.save_dir}")
    if failures:
        raise MediaError(f"{failures} of {len(files)} inputs were skipped, see above")


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
    missing = [path for path in files if not path.exists()]
    if missing:
        raise MediaError(f"{quoted(missing[0])}: no such file")
    return files


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from list_media(path)
    elif path.suffix.lower() in INDEX_EXTENSIONS:
        yield from (Path(clip.path) for clip in read_index(path).clips)
    else:
        yield path


def _reconstruct_one(
    config: ReconstructConfig, ae: Autoencoder, lpips: nn.Module | None, path: Path, label: str
) -> dict[str, Any]:
    """Reconstruct one clip into its own folder; returns its row of the summary."""
    extension = ".png" if probe(path).is_image else ".mkv" if config.lossless else ".mp4"
    names = ["reconstruction", "original"] + ["side_by_side"] * config.side_by_side
    with _claimed_folder(Path(config.save_dir), path) as folder:
        outputs = Outputs(**{name: folder / (name + extension) for name in names})
        steps = reconstruct_file_steps(ae, path, outputs, config.model, config, lpips)
        with _Bar(desc=label, unit="tile", dynamic_ncols=True) as bar:
            report = drain(steps, bar.show)
        _write_metrics(folder, report, config)
    for warning in report.warnings:
        print(f"warning: {quoted(path)}: {warning}", file=sys.stderr)
    print(_compression(ae, report, config.model), file=sys.stderr)
    return _summary_row(report, folder)


def _compression(ae: Autoencoder, report: FileReport, tiling: Tiling) -> str:
    """What the clip became and what tiling it cost, in one line."""
    size = report.num_frames, report.height, report.width
    plan, _ = tile_plans(ae, *size, tiling)
    volume, latents = math.prod(size), "x".join(map(str, report.latent_shape))
    ratio = 3 * volume / math.prod(report.latent_shape)
    cost = f"{len(plan)} tiles reading {plan.input_volume / volume:.2f} times the clip"
    return f"{quoted(report.source)}: latents {latents}, {ratio:.1f} times fewer values; {cost}"


class _Bar(tqdm):
    """A progress bar over the tiles of both stages, with the time left."""

    def show(self, progress: Progress) -> None:
        """One more piece is done; decoding takes as many tiles as encoding."""
        if progress.stage == "count":
            self.set_postfix_str(f"counting frames: {progress.done}")
            return
        self.total = 2 * progress.total
        self.set_postfix_str("", refresh=False)
        self.update()


@contextmanager
def _claimed_folder(save_dir: Path, path: Path) -> Iterator[Path]:
    """The clip's own folder under `save_dir`: that of an earlier run on the same file, or a new one.

    A folder belongs to the file that its `.source` names, so neither clips of one name nor runs at the same time meet.
    A new folder is removed again if nothing comes of it.
    """
    source = str(path.resolve())
    for number in count(1):
        folder = save_dir / (path.stem if number == 1 else f"{path.stem}-{number}")
        mark = folder / ".source"
        with write_errors(folder):
            folder.mkdir(exist_ok=True)
            is_new = _created(mark, source)
        if is_new or mark.read_text(encoding="utf-8", errors="surrogateescape") == source:
            break
    try:
        yield folder
    except BaseException:
        if is_new:
            mark.unlink()
            with suppress(OSError):  # not empty: something of the user's is in there
                folder.rmdir()
        raise


def _created(mark: Path, content: str) -> bool:
    """Write a file that did not exist; False where it does."""
    try:
        with mark.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _write_metrics(folder: Path, report: FileReport, config: ReconstructConfig) -> None:
    record = asdict(report) | {"source": str(report.source.resolve()), "settings": to_dict(config)}
    record["summary"] = {name: asdict(summary) for name, summary in summarise(report.metrics).items()}
    write_json(folder / "metrics.json", record)
    write_csv(folder / "metrics.csv", frame_rows(report.metrics))


def _summary_row(report: FileReport, folder: Path) -> dict[str, Any]:
    means = {name: summary.mean for name, summary in summarise(report.metrics).items()}
    return {
        "clip": report.source.name,
        "frames": report.num_frames,
        "size": f"{report.width}x{report.height}",
        **means,
        "encode_s": report.encode_s,
        "decode_s": report.decode_s,
        "folder": str(folder),
    }


COMMAND = Command(
    "Reconstruct videos and photos and measure what was lost.",
    ReconstructConfig(),
    run_reconstruct,
    words="FILE_OR_FOLDER_OR_CSV",
    aliases=MODEL_ALIASES,
    base=with_preset,
)
