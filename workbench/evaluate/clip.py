"""One model on one clip: what it lost, at what rate, in what time and memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.compare.side_by_side import DIFFERENCE_GAIN, absolute_difference
from workbench.evaluate.instruments import Instruments, Original
from workbench.media.source import ClipSource
from workbench.media.video import to_uint8
from workbench.media.whole import read_frames
from workbench.memory import watch_peak_memory
from workbench.models.auto import Ran
from workbench.models.base import Autoencoder
from workbench.models.plans import encode_plan
from workbench.roundtrip.clip import round_trip_steps
from workbench.roundtrip.result import RoundTrip
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import Tiling

_PANEL_SIDE = 320  # pixels of the longer side of a panel: reports hold many of them


@dataclass(frozen=True, kw_only=True)
class ClipResult(RoundTrip):
    """The figures of one model on one clip, with what it cost.

    Attributes:
        read_ratio: input samples that the encoder's tiles read over those of the clip: padding and overlaps.
        peak_memory_mb: most memory taken by encoding and decoding beyond weights and clip, see `watch_peak_memory`.
        ranks, threads: processes that shared the machine or machines meanwhile, and CPU threads of each.
        protocols: figures of the whole clip as each protocol measures it, by its name.
    """

    read_ratio: float
    peak_memory_mb: float
    ranks: int
    threads: int
    protocols: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipEvaluation:
    """What is kept of one model on one clip.

    Attributes:
        panels: the picture of the worst frame, see `worst_panels`.
        features: of the windows of the original and of the output, (n, D) each: those of rFVD by "", and those of the
            protocols that take a Fréchet distance by their names.
    """

    result: ClipResult
    panels: Tensor
    features: dict[str, tuple[Tensor, Tensor]]


def result_from_record(record: Mapping[str, Any]) -> ClipResult:
    """A result back from JSON, where undefined numbers are null."""
    metrics = {name: [_number(value) for value in values] for name, values in record["metrics"].items()}
    lists = {name: tuple(record[name]) for name in ("latent_shape", "warnings")}
    lists["timestamps_s"] = record["timestamps_s"] and tuple(record["timestamps_s"])
    peak = _number(record["peak_memory_mb"])
    return ClipResult(**{**record, **lists, "metrics": metrics, "peak_memory_mb": peak, "ran": Ran(**record["ran"])})


def evaluate_clip(
    ae: Autoencoder,
    clip: ClipSource,
    tiling: Tiling,
    original: Original | None = None,
    ranks: int = 1,
    sample_posterior: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ClipEvaluation:
    """Reconstruct a clip and measure it; `ranks` is how many processes do so at the same time.

    Args:
        original: the clip's frames with what they are measured with; by default what needs no network.

    Raises:
        ConfigError: a tile size is not legal for the model.
        MediaError: the clip cannot be read, or not into memory.
    """
    original = original or Original(read_frames(clip), Instruments(), clip.fps)
    steps = evaluate_steps(ae, clip, original, tiling, ranks, sample_posterior)
    result, output, features = drain(steps, on_progress)
    panels = worst_panels(original.frames[result.worst_frame], output[result.worst_frame])
    return ClipEvaluation(result, panels, features)


def evaluate_steps(
    ae: Autoencoder,
    clip: ClipSource,
    original: Original,
    tiling: Tiling,
    ranks: int = 1,
    sample_posterior: bool = False,
) -> Steps[tuple[ClipResult, Tensor, dict[str, tuple[Tensor, Tensor]]]]:
    """Reconstruct frames of the clip that were read already and measure them, as steps: tiles, then what is measured.

    Also returns the reconstruction, uint8 (T, 3, H, W), and features as in `ClipEvaluation`.
    """
    frames = original.frames
    size = frames.shape[0], frames.shape[2], frames.shape[3]
    peak = watch_peak_memory(ae.device)
    _, y, facts, choice = yield from round_trip_steps(ae, frames, tiling, sample_posterior)
    peak_mb = peak()
    measured = yield from original.measure_steps(y[0].transpose(0, 1))
    result = ClipResult(
        **facts,
        fps=clip.fps,
        timestamps_s=clip.timestamps_s,
        read_ratio=encode_plan(ae, size, choice.tiling).read_ratio,
        peak_memory_mb=peak_mb,
        ranks=ranks,
        threads=torch.get_num_threads(),
        metrics=measured.metrics,
        warnings=clip.warnings,
        protocols=measured.protocols,
    )
    return result, to_uint8(y[0]).transpose(0, 1), measured.features


def worst_panels(original_CHW: Tensor, output_CHW: Tensor) -> Tensor:
    """Original, reconstruction and amplified difference of a frame from left to right, small: uint8 (3, h, 3 * w).

    The difference is taken at full size, before all three are averaged down to sides of at most 320 pixels.
    """
    panels = [original_CHW, output_CHW, absolute_difference(original_CHW, output_CHW, DIFFERENCE_GAIN)]
    scale = min(1.0, _PANEL_SIDE / max(original_CHW.shape[1:]))
    size = [max(1, round(side * scale)) for side in original_CHW.shape[1:]]
    small = F.interpolate(torch.stack(panels).float(), size, mode="area")
    return torch.cat(list(small.round().to(torch.uint8)), dim=2)


def warm_up(ae: Autoencoder) -> None:
    """Run the model once on a tiny clip, so that what is loaded at first use is not timed with the first clip."""
    frames = ae.legal_frames(2)
    side = 2 * ae.spatial_stride
    with torch.inference_mode():
        ae.decode(ae.encode(torch.zeros(1, 3, frames, side, side)), frames, (side, side))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
