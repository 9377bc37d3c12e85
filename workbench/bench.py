"""How fast a model encodes and decodes one clip on this machine, and how near that is to the machine's matmul peak."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from workbench.config import check_choice, check_range, setting
from workbench.models.base import Autoencoder

VARIANTS = ("eager", "channels_last", "compile")


@dataclass(frozen=True)
class BenchSettings:
    """One clip, encoded and decoded untiled, several times."""

    batch: int = setting(1, "clips at once")
    frames: int = setting(8, "frames of the clip")
    height: int = setting(64, "pixels")
    width: int = setting(64, "pixels")
    repeats: int = setting(3, "timed runs; the fastest counts")
    variants: str = setting("eager", f"comma-separated ways to run, compared with the first: {', '.join(VARIANTS)}")

    def __post_init__(self) -> None:
        for name in ("batch", "frames", "height", "width", "repeats"):
            check_range(f"--{name}", getattr(self, name), 1)
        for variant in self.variants.split(","):
            check_choice("--variants", variant, VARIANTS)


@dataclass(frozen=True)
class BenchRow:
    """One direction of one variant.

    Attributes:
        tflop: operations of one run as counted by torch (2 per multiply-add), in 1e12.
        peak_share: reached operations per second over those of a large matmul of the same dtype and device.
        peak_memory_mb: memory at its peak, beyond weights and input; on a CPU of the process, known on Linux only.
        speedup: over the first variant, in the same run.
    """

    variant: str
    direction: str
    seconds: float
    frames_per_s: float
    tflop: float
    tflop_per_s: float
    peak_share: float
    peak_memory_mb: float
    speedup: float


def bench(ae: Autoencoder, settings: BenchSettings) -> list[BenchRow]:
    """Measure encode and decode in every variant, in one run."""
    size = settings.frames, settings.height, settings.width
    x = torch.rand(settings.batch, 3, *size, device=ae.device, dtype=ae.dtype) * 2 - 1
    peak = matmul_peak(ae.device, ae.dtype)
    rows: list[BenchRow] = []
    with torch.inference_mode():
        z = ae.encode(x)
        runs = {"encode": lambda model: model.encode(x), "decode": lambda model: model.decode(z, size[0], size[1:])}
        flops = {direction: _count(lambda run=run: run(ae)) for direction, run in runs.items()}
        for variant in settings.variants.split(","):
            model = _variant(ae, variant)
            for direction, run in runs.items():
                seconds, memory = _measure(lambda run=run, model=model: run(model), settings.repeats, ae.device)
                first = next((row.seconds for row in rows if row.direction == direction), seconds)
                rate = flops[direction] / seconds
                frames = settings.batch * settings.frames / seconds
                row = (seconds, frames, flops[direction] / 1e12, rate / 1e12, rate / peak, memory, first / seconds)
                rows.append(BenchRow(variant, direction, *row))
    return rows


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large square matmul, the best of several runs: the ceiling in practice."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    with torch.inference_mode():
        seconds, _ = _measure(lambda: a @ a, 5, device)
    return 2 * side**3 / seconds


def _variant(ae: Autoencoder, variant: str) -> Autoencoder:
    memory_format = torch.contiguous_format if variant == "eager" else torch.channels_last_3d
    ae.to(memory_format=memory_format)
    if variant == "compile":
        torch.compiler.reset()
        ae.encode, ae.decode = torch.compile(ae.encode), torch.compile(ae.decode)
    return ae


def _count(run: Callable[[], Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _measure(run: Callable[[], Tensor], repeats: int, device: torch.device) -> tuple[float, float]:
    """Seconds of the fastest run, after one to warm up, and peak memory in MB beyond what was held before."""
    peak = _cuda_peak(device) if device.type == "cuda" else _process_peak()
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:]), peak() / 1e6


def _cuda_peak(device: torch.device) -> Callable[[], float]:
    """Start watching; the function returned gives the bytes by which the peak exceeds what is allocated now."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - before


def _process_peak() -> Callable[[], float]:
    """The same for the resident memory of this process, by Linux's resettable high-water mark; elsewhere NaN."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: float("nan")
    before = _status_bytes("VmRSS")
    return lambda: _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
