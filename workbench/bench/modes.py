"""What each tiling mode costs on this machine, beside the published tiles in the same run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from workbench.bench.run import Bench, matmul_peak, measure_run
from workbench.bench.settings import PUBLISHED, BenchSettings
from workbench.counting import Counter
from workbench.devices import laid_out
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.cost import CodingCost, coding_cost, is_counted
from workbench.models.registry import in_fastest_layout
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class ModeRow:
    """One direction of one tiling mode.

    Attributes:
        cpu_seconds: of all threads of the process, which a busy machine disturbs less; NaN where the model is on a GPU.
        tflop: operations as counted by torch, 2 per multiply-add, in 1e12.
        tflop_ratio: operations as counted over those of the first mode, in the same run; see `models.cost.work_ratio`.
        peak_share: reached operations per second over those of `matmul_peak`.
        activations_mb: memory at its peak beyond weights and input; on a CPU of the process, known on Linux only.
        predicted_mb: the same as `models.cost` counts it, which is what `tiling_mode` auto goes by, and the output;
            NaN for models of diffusers, which it cannot count.
        speedup: over the first mode, in the same run.
        max_difference: largest difference of the output to that of the first mode, in the units of its output.
    """

    mode: str
    direction: str
    seconds: float
    cpu_seconds: float
    frames_per_s: float
    tflop: float
    tflop_ratio: float
    tflop_per_s: float
    peak_share: float
    activations_mb: float
    predicted_mb: float
    speedup: float
    max_difference: float


def bench_modes_steps(ae: Autoencoder, settings: BenchSettings, tiling: Tiling) -> Steps[Bench[ModeRow]]:
    """Encode and decode a clip of noise in every mode, as steps.

    Args:
        tiling: tile sizes, overlap and push for all modes.

    Raises:
        ConfigError: the model cannot be run in a mode.
    """
    size, names = (settings.frames, settings.height, settings.width), (settings.modes or "").split(",")
    progress = (Progress("bench", done, 1 + 2 * len(names)) for done in count(1))
    modes = {name: tiling.in_mode("tiles" if name == PUBLISHED else name) for name in names}
    costs = {name: coding_cost(ae, size, asked) if is_counted(ae) else None for name, asked in modes.items()}
    peak = matmul_peak(ae.device, ae.dtype)
    yield next(progress)
    x = torch.rand(settings.batch, 3, *size, device=ae.device, dtype=ae.dtype) * 2 - 1
    z = encode_tiled(ae, x, modes[names[0]])
    first: dict[str, _Run] = {}
    rows = []
    for name, asked in modes.items():
        laid_out(ae, torch.contiguous_format) if name == PUBLISHED else in_fastest_layout(ae)
        runs = _runs(ae, x, z, asked)
        for direction, run in runs.items():
            now = _run(run, settings.repeats, ae.device, costs[name], direction)
            rows.append(_row(name, direction, now, first.setdefault(direction, now), settings, peak))
            yield next(progress)
    return Bench(peak / 1e12, rows)


@dataclass(frozen=True)
class _Run:
    output: Tensor
    seconds: float
    cpu_seconds: float
    activations_mb: float
    operations: float
    predicted_bytes: float


def _run(
    run: Callable[[], Tensor], repeats: int, device: torch.device, cost: CodingCost | None, direction: str
) -> _Run:
    with Counter() as counter:
        output = run()  # the run that warms up, too
    cpu_seconds: list[float] = []

    def timed() -> None:
        begin = time.process_time()
        run()
        cpu_seconds.append(time.process_time() - begin)

    seconds, activations_mb = measure_run(timed, repeats, device, warm_ups=0)
    on_cpu = min(cpu_seconds) if device.type == "cpu" else math.nan
    predicted = cost.peak_bytes_of(direction) if cost else math.nan
    return _Run(output, seconds, on_cpu, activations_mb, counter.operations, predicted)


def _runs(ae: Autoencoder, x: Tensor, z: Tensor, tiling: Tiling) -> dict[str, Callable[[], Tensor]]:
    frames, height, width = x.shape[2:]
    return {
        "encode": lambda: encode_tiled(ae, x, tiling),
        "decode": lambda: decode_tiled(ae, z, tiling, frames, (height, width)),
    }


def _row(mode: str, direction: str, now: _Run, first: _Run, settings: BenchSettings, peak: float) -> ModeRow:
    held = now.output.numel() * now.output.itemsize
    return ModeRow(
        mode,
        direction,
        seconds=now.seconds,
        cpu_seconds=now.cpu_seconds,
        frames_per_s=settings.batch * settings.frames / now.seconds,
        tflop=now.operations / 1e12,
        tflop_ratio=now.operations / first.operations,
        tflop_per_s=now.operations / now.seconds / 1e12,
        peak_share=now.operations / now.seconds / peak,
        activations_mb=now.activations_mb,
        predicted_mb=(settings.batch * now.predicted_bytes + held) / 1e6,
        speedup=first.seconds / now.seconds,
        max_difference=(now.output - first.output).abs().max().item(),
    )
