"""How fast a model encodes and decodes one clip on this machine, and how near that is to the machine's matmul peak."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import torch
from torch import Tensor

from workbench.bench.settings import BenchSettings
from workbench.counting import Counter
from workbench.devices import laid_out
from workbench.errors import ConfigError
from workbench.memory import available_memory, watch_peak_memory
from workbench.models.base import Autoencoder
from workbench.steps import Progress, Steps

Row = TypeVar("Row")


@dataclass(frozen=True)
class BenchRow:
    """One direction of one variant.

    Attributes:
        tflop: operations of one run as counted by torch (2 per multiply-add), in 1e12.
        peak_share: reached operations per second over those of `matmul_peak`.
        activations_mb: memory at its peak beyond weights and input; on a CPU of the process, known on Linux only.
        memory_mb: the same with the weights and input.
        speedup: over the first variant, in the same run.
    """

    variant: str
    direction: str
    seconds: float
    frames_per_s: float
    tflop: float
    tflop_per_s: float
    peak_share: float
    activations_mb: float
    memory_mb: float
    speedup: float


@dataclass(frozen=True)
class Bench(Generic[Row]):
    """What was measured, of variants or modes; `matmul_tflop_per_s` is the ceiling that the rows are compared with."""

    matmul_tflop_per_s: float
    rows: list[Row]


def bench_steps(ae: Autoencoder, settings: BenchSettings) -> Steps[Bench[BenchRow]]:
    """Measure encode and decode in every variant, in one run, as steps: the matmul, then each direction of each."""
    size, variants = (settings.frames, settings.height, settings.width), settings.variants.split(",")
    progress = (Progress("bench", done, 2 + 2 * len(variants)) for done in count(1))
    peak = matmul_peak(ae.device, ae.dtype)
    yield next(progress)
    x = torch.rand(settings.batch, 3, *size, device=ae.device, dtype=ae.dtype) * 2 - 1
    with torch.no_grad(), Counter() as encoding:
        z = ae.encode(x)
    with torch.no_grad(), Counter() as decoding:
        ae.decode(z, size[0], size[1:])
    operations = {"encode": encoding.operations, "decode": decoding.operations}
    yield next(progress)
    rows: list[BenchRow] = []
    for variant in variants:
        for direction, run in _runs(ae, variant, x, z).items():
            seconds, activations_mb = measure_run(run, settings.repeats, ae.device)
            first_s = next((row.seconds for row in rows if row.direction == direction), seconds)
            held = _bytes(*ae.parameters(), *ae.buffers(), x if direction == "encode" else z)
            rows.append(
                BenchRow(
                    variant,
                    direction,
                    seconds=seconds,
                    frames_per_s=settings.batch * settings.frames / seconds,
                    tflop=operations[direction] / 1e12,
                    tflop_per_s=operations[direction] / seconds / 1e12,
                    peak_share=operations[direction] / seconds / peak,
                    activations_mb=activations_mb,
                    memory_mb=held / 1e6 + activations_mb,
                    speedup=first_s / seconds,
                )
            )
            yield next(progress)
    return Bench(peak / 1e12, rows)


def check_memory(settings: BenchSettings, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a clip that does not fit, before the machine is asked for it.

    Raises:
        ConfigError: the clip alone takes more than is free.
    """
    values = settings.batch * 3 * settings.frames * settings.height * settings.width
    needed, available = values * dtype.itemsize, available_memory(device)
    if needed > available:
        size = f"{settings.batch} x {settings.frames} x {settings.height} x {settings.width}"
        raise ConfigError(
            f"`batch`, `frames`, `height`, `width`: {size} takes {needed / 1e9:.3g} GB before any layer; "
            f"{available / 1e9:.3g} GB are free"
        )


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large square matmul, the best of several runs: the ceiling in practice."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    seconds, _ = measure_run(lambda: a @ a, 5, device)
    return 2 * side**3 / seconds


def _runs(ae: Autoencoder, variant: str, x: Tensor, z: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What to time in each direction. Sets the layout of the weights; nothing else of the model changes."""
    laid_out(ae, torch.channels_last_3d if "channels_last" in variant else torch.contiguous_format)
    encode, decode = ae.encode, ae.decode
    if variant.startswith("compile"):
        encode, decode = torch.compile(encode), torch.compile(decode)
    return {"encode": lambda: encode(x), "decode": lambda: decode(z, x.shape[2], (x.shape[3], x.shape[4]))}


def measure_run(
    run: Callable[[], object], repeats: int, device: torch.device, warm_ups: int = 1
) -> tuple[float, float]:
    """Seconds of the fastest run, after those to warm up, and peak memory in MB beyond what was held before."""
    peak_mb = watch_peak_memory(device)
    times = []
    with torch.inference_mode():
        for _ in range(warm_ups + repeats):
            begin = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begin)
    return min(times[warm_ups:]), peak_mb()
