"""What `python -m workbench reconstruct` does with the files that it found."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from workbench.allocator import give_large_blocks_back
from workbench.commands.presets import ReconstructConfig
from workbench.commands.progress import StageBar
from workbench.compare.tables import text_table
from workbench.config import to_dict
from workbench.errors import FileError, WorkbenchError
from workbench.files import quoted, write_csv, write_errors
from workbench.jobs.clip import Asked, WrittenClip, folder_job
from workbench.jobs.clip_folders import SUMMARY
from workbench.metrics.lpips import LPIPS, load_lpips_if_available, usual_every
from workbench.metrics.measure import summarise
from workbench.metrics.networks import missing_network
from workbench.models.base import Autoencoder
from workbench.models.plans import check_tiling, tile_plans
from workbench.ranks import Lockstep
from workbench.roundtrip.result import FileReport
from workbench.steps import drain
from workbench.tile_settings import Tiling
from workbench.words import counted, overlap_words


def reconstruct_files(
    config: ReconstructConfig, files: Sequence[Path], ranks: Lockstep | None, words: Callable[[object], str]
) -> None:
    """Every file into a folder of its own under `config.save_dir`, and a summary; rank 0 writes and speaks.

    Args:
        words: puts flags into messages.
    """
    give_large_blocks_back()
    with write_errors(Path(config.save_dir)):
        Path(config.save_dir).mkdir(parents=True, exist_ok=True)
    ae = config.model.load(ranks.world.device if ranks else config.device, config.dtype)
    check_tiling(ae, config.model)
    is_main = ranks is None or ranks.world.is_main
    every = config.lpips_every or usual_every(ae.device)
    lpips = load_lpips_if_available(ae.device, every) if is_main else None
    asked = Asked(config.model, config, to_dict(config), lpips)
    rows, failures = [], 0
    for number, path in enumerate(files, 1):
        try:
            with ranks.shared_errors() if ranks else nullcontext():
                steps = folder_job(ae, path, Path(config.save_dir), asked, ranks, config.lossless, config.side_by_side)
                with StageBar(f"{number}/{len(files)} {path.name}", disable=not is_main) as bar:
                    result = drain(steps, bar.show)
            if result is not None:
                rows.append(_told(result, ae, config.model, words))
        except FileError as error:
            if len(files) == 1:
                raise
            failures += 1
            if is_main:
                print(f"skipped: {words(error)}", file=sys.stderr)
    if rows:
        _summarise(rows, Path(config.save_dir), lpips)
    if failures:
        raise WorkbenchError(f"{failures} of {len(files)} inputs were skipped, see above")


_IN_FILE_ONLY = "worst_at_s", "worst_psnr", "encode_total_s", "decode_total_s"
"""Left out of the table in the terminal, which would be too wide to read."""


def _summarise(rows: Sequence[Mapping[str, Any]], save_dir: Path, lpips: LPIPS | None) -> None:
    write_csv(save_dir / SUMMARY, rows)
    shown = [{name: value for name, value in row.items() if name not in _IN_FILE_ONLY} for row in rows]
    print(f"\n{text_table(shown)}\n")
    if lpips is None:
        print(f"LPIPS is left out: {missing_network('lpips_vgg')}")
    elif lpips.every > 1:
        print(f"LPIPS is that of one frame in {lpips.every}; --lpips_every 1 takes all")
    print(f"results in {save_dir}; {SUMMARY} there tells seconds and worst frames too")


def _told(result: WrittenClip, ae: Autoencoder, tiling: Tiling, words: Callable[[object], str]) -> dict[str, Any]:
    """What to know of one clip, on stderr; returns its row of the summary."""
    report = result.report
    for warning in report.warnings:
        print(f"warning: {quoted(report.source)}: {warning}", file=sys.stderr)
    if report.ran.chosen:
        print(words(report.ran.chosen), file=sys.stderr)
    print(_compression(ae, report, tiling), file=sys.stderr)
    return _summary_row(report, result.folder)


def _compression(ae: Autoencoder, report: FileReport, tiling: Tiling) -> str:
    """What the clip became and what tiling it cost, in one line."""
    size = report.num_frames, report.height, report.width
    volume, latents = math.prod(size), "x".join(map(str, report.latent_shape))
    ratio = 3 * volume / math.prod(report.latent_shape)
    cost = f"mode {report.ran.tiling_mode}, {overlap_words(report.ran.work)}"
    if report.ran.tiling_mode == "tiles":
        plan = tile_plans(ae, *size, tiling)[0]
        cost = f"{counted(len(plan), 'tile')} reading {plan.input_volume / volume:.2f} times the clip"
    exact = "exact" if report.ran.is_exact else "not exact"  # as in one piece
    return f"{quoted(report.source)}: latents {latents}, {ratio:.1f} times fewer values; {cost}, {exact}"


def _summary_row(report: FileReport, folder: Path) -> dict[str, Any]:
    means = {name: summary.mean for name, summary in summarise(report.metrics).items()}
    return {
        "clip": report.source.name,
        "frames": report.num_frames,
        "size": f"{report.width}x{report.height}",
        **means,
        "worst_frame": report.worst_frame,
        "worst_at_s": report.time_of(report.worst_frame),
        "worst_psnr": report.metrics["psnr"][report.worst_frame],
        "encode_total_s": report.encode_total_s,
        "decode_total_s": report.decode_total_s,
        "folder": str(folder),
    }
