"""All metrics of a clip, at once or slab by slab."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import ShapeError
from workbench.metrics.lpips import LPIPS, lpips
from workbench.metrics.psnr import psnr
from workbench.metrics.ssim import ssim
from workbench.metrics.temporal import flicker, temporal_error
from workbench.metrics.warp import warp_error


@dataclass(frozen=True)
class Metric:
    """A metric as measuring, tables and figures need it.

    Attributes:
        function: f(x, y, data_range) of two clips (T, 3, H, W) to values (T,); None where `measure` leaves it to
            `workbench.evaluate`, which keeps what is known of the original.
        needs_previous: whether the value of a frame also depends on the frame before it.
        needs_network: whether the function takes the network of `load_lpips` as its last argument.
        on_request: whether it is measured only where it is asked for by name.
    """

    label: str
    unit: str
    higher_is_better: bool
    function: Callable[..., Tensor] | None
    needs_previous: bool = False
    needs_network: bool = False
    on_request: bool = False


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", "dB", True, psnr),
    "ssim": Metric("SSIM", "", True, ssim),
    "lpips": Metric("LPIPS", "", False, lpips, needs_network=True),
    "lpips_alex": Metric("LPIPS (AlexNet)", "", False, None, needs_network=True),
    "vmaf": Metric("VMAF", "", True, None, on_request=True),
    "temporal_error": Metric("Temporal error", "grey levels", False, temporal_error, needs_previous=True),
    "flicker": Metric("Flicker", "grey levels", False, flicker, needs_previous=True),
    "warp_error": Metric("Warp error", "grey levels", False, warp_error, needs_previous=True, on_request=True),
}


@dataclass(frozen=True)
class Summary:
    """One metric over one clip: mean, worst value and the index of the worst frame, of the frames with a value."""

    mean: float
    worst: float
    worst_frame: int


def measure(
    original: Tensor,
    output: Tensor,
    lpips_network: LPIPS | None = None,
    previous: tuple[Tensor, Tensor] | None = None,
    requested: Collection[str] = (),
    first: int = 0,
) -> dict[str, list[float]]:
    """Every metric of `METRICS` for every frame; LPIPS only with its network (`load_lpips`), and those on request.

    Args:
        original, output: uint8 frames_TCHW of one shape.
        previous: the last frame (1, 3, H, W) of the original and of the output before these, where they are a later
            part of a clip: the values are then those of the whole clip.
        requested: names of metrics that are measured on request only.
        first: number of the first frame in the clip that these are a part of, for LPIPS of every n-th frame.

    Returns:
        Name to one value a frame. NaN where a metric is not defined: the temporal ones on the first frame of a clip,
        SSIM with a side under 11 pixels, LPIPS under 16 and where its network leaves frames out, the warp error under
        32.

    Raises:
        ShapeError: the two are not uint8 clips of one shape (T, 3, H, W).
    """
    if original.dtype != torch.uint8 or output.dtype != torch.uint8:
        raise ShapeError(f"clips are measured on uint8 frames, got {original.dtype} and {output.dtype}")
    pair = original, output
    pair_and_previous = pair if previous is None else tuple(map(torch.cat, zip(previous, pair, strict=True)))
    values = {}
    for name, metric in METRICS.items():
        left_out = (metric.needs_network and lpips_network is None) or (metric.on_request and name not in requested)
        if metric.function is None or left_out:
            continue
        clips = pair_and_previous if metric.needs_previous else pair
        network = [lpips_network, first] if metric.needs_network else []
        values[name] = metric.function(*clips, 255.0, *network)[-len(original) :].tolist()
    return values


class ClipMetrics:
    """The metrics of one clip that comes slab by slab: the same values as `measure` on the whole clip.

    Attributes:
        values: name to one value for every frame added so far.
    """

    def __init__(self, lpips_network: LPIPS | None = None) -> None:
        """`lpips_network`, from `load_lpips`, measures LPIPS too."""
        self.values: dict[str, list[float]] = {}
        self._network = lpips_network
        self._previous: tuple[Tensor, Tensor] | None = None
        self._measured = 0

    def add(self, original: Tensor, output: Tensor) -> None:
        """Measure the next frames: uint8 (T, 3, H, W) before and after. Keeps a copy of the last frame only."""
        measured = measure(original, output, self._network, self._previous, first=self._measured)
        for name, values in measured.items():
            self.values.setdefault(name, []).extend(values)
        self._measured += len(original)
        self._previous = original[-1:].clone(), output[-1:].clone()


def summarise(values: Mapping[str, Sequence[float]]) -> dict[str, Summary]:
    """Mean and worst frame of every metric of one clip. A metric without any defined value is left out."""
    summaries = {}
    for name, per_frame in values.items():
        defined = {frame: value for frame, value in enumerate(per_frame) if not math.isnan(value)}
        if defined:
            pick = min if METRICS[name].higher_is_better else max
            worst = pick(defined, key=defined.__getitem__)
            summaries[name] = Summary(math.fsum(defined.values()) / len(defined), defined[worst], worst)
    return summaries
