"""`python -m workbench bench`: how fast a model encodes and decodes here."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from workbench.allocator import give_large_blocks_back
from workbench.bench.settings import PUBLISHED, BenchSettings
from workbench.cli import Command
from workbench.commands.progress import ShareBar
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.compare.tables import text_table
from workbench.config import setting, to_dict
from workbench.devices import DEVICE_HELP, DTYPE_HELP, pick_device, pick_dtype
from workbench.errors import ConfigError
from workbench.files import write_json
from workbench.models.catalogue import needs_weights
from workbench.steps import Progress, Steps, T, drain
from workbench.tile_settings import ONE_PIECE

if TYPE_CHECKING:
    import torch

    from workbench.models.base import Autoencoder


_SEAM_COLUMNS = """psnr: dB against the original
difference, largest: to the clip in one piece, in grey levels of 255
time, height, width: how many times larger its jumps are where tiles meet, about 1 where no seam shows"""


@dataclass(frozen=True)
class BenchConfig(BenchSettings):
    """Settings of `python -m workbench bench`."""

    model: ModelSettings = ModelSettings(name="video_dc_ae")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)
    out: str | None = setting(None, "also write the rows to this .json file")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.tiling_mode is not None:
            raise ConfigError("`model.tiling_mode`: `modes` says which are compared; leave it out")
        if self.model.push_frames is not None and set((self.modes or "tiles").split(",")) <= {"tiles", PUBLISHED}:
            raise ConfigError("`model.push_frames`: nothing is streamed here; leave it out, or add `modes` stages")


def run_bench(config: BenchConfig) -> None:
    """Measure encode and decode, tiling modes or metrics; print, and if asked write, a table."""
    device = pick_device(config.device)
    measure = _measure_metrics if config.metrics else _compare_on_clip if config.clip else _measure_model
    rows, facts = measure(config, device)
    print(text_table(rows))
    if config.out:
        write_json(Path(config.out), {"settings": to_dict(config)} | facts | {"rows": rows})
        print(f"written to {config.out}")


def _measure_model(config: BenchConfig, device: "torch.device") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table, and what else is worth knowing."""
    from workbench.bench.modes import ModeRow, bench_modes_steps
    from workbench.bench.run import Bench, BenchRow, bench_steps, check_memory
    from workbench.models.identity import model_record

    model = config.model
    check_memory(config, device, pick_dtype(config.dtype, device))
    if config.modes:
        give_large_blocks_back()  # as `reconstruct` does: what is measured is what a clip takes there
    if model.from_pretrained is None and needs_weights(model.name):
        print("random weights: speed does not depend on them")
        model = replace(model, from_pretrained="random")
    ae = model.load(device, config.dtype)
    used = _record(ae, model) if config.modes else model_record(ae, ONE_PIECE)
    shape = f"{config.batch} x {config.frames} x {config.height} x {config.width}"
    print(f"{ae.name} on {used['device']}, {used['dtype']}, {used['threads']} CPU threads: {shape}", flush=True)
    result: Bench[ModeRow] | Bench[BenchRow]
    result = _drained(bench_modes_steps(ae, config, model)) if config.modes else _drained(bench_steps(ae, config))
    print(f"a large matmul reaches {result.matmul_tflop_per_s:.4g} TFLOP/s here: peak_share is of that")
    return list(map(asdict, result.rows)), {"used": used, "matmul_tflop_per_s": result.matmul_tflop_per_s}


def _compare_on_clip(config: BenchConfig, device: "torch.device") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from workbench.jobs.mode_seams import mode_seams_job
    from workbench.media.policy import ClipPolicy
    from workbench.media.whole import read_clip_steps
    from workbench.models.attention import attends

    ae = config.model.load(device, config.dtype)
    policy = ClipPolicy(resolution=config.resolution, max_frames=config.frames)
    clip, frames = drain(read_clip_steps(str(config.clip), policy, ae.spatial_stride))
    print(f"{ae.name} on {clip.num_frames} frames of {clip.width}x{clip.height}\n{_SEAM_COLUMNS}", flush=True)
    modes = str(config.modes).split(",")
    with ShareBar("comparing", stages=2 * (1 + attends(ae) + len(modes))) as bar:
        rows = drain(mode_seams_job(ae, frames, modes, config.model, without_attention=True), bar.show)
    return [row.figures for row in rows], {"used": _record(ae, config.model), "policy": policy.record()}


def _record(ae: "Autoencoder", tiling: ModelSettings) -> dict[str, Any]:
    """What a model ran with in all modes; rows say in which."""
    from workbench.models.identity import model_record

    record = model_record(ae, tiling.in_mode("tiles"))
    del record["tiling_mode"]
    return record


def _measure_metrics(config: BenchConfig, device: "torch.device") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from workbench.bench.metrics import bench_metrics_steps
    from workbench.models.identity import machine_record

    used = machine_record(device)
    print(f"metrics on {used['device']}, {used['threads']} CPU threads: {config.frames} frames", flush=True)
    rows, left_out = _drained(bench_metrics_steps(config, device))
    print("".join(f"left out: {line}\n" for line in left_out), end="")
    return list(map(asdict, rows)), {"used": used, "left_out": left_out}


def _drained(steps: Steps[T]) -> T:
    with tqdm(desc="measuring", unit="run", dynamic_ncols=True) as bar:
        return drain(steps, lambda progress: _show(bar, progress))


def _show(bar: tqdm, progress: Progress) -> None:
    bar.total = progress.total
    bar.update()


COMMAND = Command(
    "Measure how fast a model encodes and decodes, what tiling modes cost and do to a clip, or what metrics cost.",
    BenchConfig(),
    run_bench,
    aliases=MODEL_ALIASES,
)
