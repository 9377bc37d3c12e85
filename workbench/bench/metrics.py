"""What each metric costs on this machine."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.bench.run import measure_run
from workbench.bench.settings import BenchSettings
from workbench.metrics.fvd import FVD_FRAMES, I3DFeatures
from workbench.metrics.kept import KeptLpips
from workbench.metrics.lpips import LPIPS, load_lpips, lpips_available
from workbench.metrics.measure import METRICS
from workbench.metrics.networks import missing_network, network_path
from workbench.metrics.vmaf import Vmaf
from workbench.steps import Progress, Steps


@dataclass(frozen=True)
class MetricRow:
    """One metric on one clip.

    Attributes:
        frames: how many it takes of the clip.
        s_per_megapixel: seconds for 10^6 pixels of frames that it takes.
    """

    metric: str
    frames: int
    seconds: float
    s_per_megapixel: float


Timed = tuple[str, int, Callable[[], object]]


def bench_metrics_steps(settings: BenchSettings, device: torch.device) -> Steps[tuple[list[MetricRow], list[str]]]:
    """Time every metric on a clip of noise, as steps; what cannot be measured here, and why, is the second result."""
    x, y = torch.randint(0, 256, (2, settings.frames, 3, settings.height, settings.width), dtype=torch.uint8)
    x, y = x.to(device), y.to(device)
    left_out = list(_left_out(settings))
    timed = [*_simple(x, y), *_networks(x, y, device), *_of_windows(x, device)]
    rows = []
    for done, (name, frames, run) in enumerate(timed, start=1):
        seconds, _ = measure_run(run, settings.repeats, device)
        rows.append(MetricRow(name, frames, seconds, seconds / (frames * settings.height * settings.width / 1e6)))
        yield Progress("bench", done, len(timed))
    return rows, left_out


def _simple(x: Tensor, y: Tensor) -> Iterator[Timed]:
    for name, metric in METRICS.items():
        if metric.function is None or metric.needs_network or (name == "warp_error" and not _is_installed("cv2")):
            continue
        yield name, len(x), partial(metric.function, x, y, 255.0)


def _networks(x: Tensor, y: Tensor, device: torch.device) -> Iterator[Timed]:
    for name, backbone in (("lpips", "vgg"), ("lpips_alex", "alex")):
        if lpips_available(backbone):
            network = load_lpips(device, backbone=backbone)
            kept = KeptLpips(x, network)
            yield name, len(x), partial(_lpips_alone, x, y, network)
            yield f"{name}, original known", len(x), partial(kept.values, y)
    if _is_installed("vmaf_torch"):
        vmaf = Vmaf(device)
        yield "vmaf", len(x), lambda: vmaf.values(x, y)


def _lpips_alone(x: Tensor, y: Tensor, network: LPIPS) -> list[float]:
    return KeptLpips(x, network, keep=False).values(y)


def _of_windows(x: Tensor, device: torch.device) -> Iterator[Timed]:
    windows = len(x) // FVD_FRAMES
    if windows and network_path("i3d").is_file():
        i3d = I3DFeatures(device)
        yield "features of rFVD", windows * FVD_FRAMES, lambda: i3d.features(x)


def _left_out(settings: BenchSettings) -> Iterator[str]:
    for name in ("lpips_vgg", "lpips_alex", "i3d"):
        if not (network_path(name).is_file() or (name == "lpips_vgg" and lpips_available())):
            yield f"{name}: {missing_network(name)}"
    if settings.frames < FVD_FRAMES:
        yield f"i3d: takes {FVD_FRAMES} frames or more"
    for module, package in (("vmaf_torch", "vmaf-torch"), ("cv2", "opencv-python-headless")):
        if not _is_installed(module):
            yield f"{'vmaf' if module == 'vmaf_torch' else 'warp_error'}: pip install {package}"


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
