"""One model through the fault suite: every clip once, every figure, and what of it is a fault."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from workbench.errors import NonFiniteError, WorkbenchError
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.roundtrip.clip import round_trip_steps
from workbench.steps import Progress, Steps, drain
from workbench.suite import figures as f
from workbench.suite.clips import CLIPS, COLOURS, FLASH_AT, FRAMES, SIDE, STEP_AT
from workbench.suite.reading import SIZES, letters_read, written
from workbench.tile_settings import Tiling
from workbench.tiling import TilePlan

_COLOURS = ("red", "green", "blue")
_STILL = ("zone plate", "ramp", *COLOURS)


@dataclass(frozen=True)
class Figure:
    """What one figure of the suite says.

    Attributes:
        label: its name for people, with the unit.
        words: what it is, and what it shows.
        odd, bad: values from which on it is worth a look, and a fault; gains and biases have theirs in `verdict`.
    """

    label: str
    words: str
    odd: float = math.inf
    bad: float = math.inf


FIGURES = {
    "not_finite": Figure("values not finite", "NaN or infinite: an overflow, mostly of float16", 1e-12, 1e-12),
    "grid": Figure("grid on flat colours (levels)", "energy off the mean of a constant colour, the worst of six", 1, 4),
    **{
        f"gain_{c}": Figure(f"contrast of {c}", "gain of the line from original to output, 1 is right")
        for c in _COLOURS
    },
    **{
        f"bias_{c}": Figure(f"bias of {c} (levels)", "the worst of six flat colours and the ramp's grey")
        for c in _COLOURS
    },
    "order": Figure("colours out of order", "output colours that follow another original one", 1, 1),
    "misplaced": Figure("misplaced frames", "frames nearer to another frame of the original than to their own", 1, 3),
    "position": Figure("spread by place in a group (dB)", "between the frames that share a latent", 3, 8),
    "ends": Figure("first or last frame worse by (dB)", "than the frames between, the worst of the moving clips", 2, 6),
    "counts": Figure("numbers of frames that fail", "of 1 to two latents' and one: frames lost, or 3 dB worse", 1, 1),
    "flicker": Figure("flicker of stills (levels)", "mean change from frame to frame where nothing moves", 0.5, 3),
    "leak": Figure("leak of one bright frame (levels)", "how much more its neighbours err than other frames", 8, 30),
    "cut_leak": Figure("leak of a cut (levels)", "how much more the frames beside it err than others", 8, 30),
    "cells": Figure("jumps at latents' borders (times)", "of the error, against elsewhere: blocks that show", 1.3, 4),
    "tiles": Figure("jumps at tiles' borders (times)", "there, against the borders of other latents: seams", 1.3, 2),
    "edge_psnr": Figure("moving edge (dB)", "PSNR"),
    "text_psnr": Figure("moving text (dB)", "PSNR"),
    "zone_psnr": Figure("zone plate (dB)", "PSNR"),
    **{
        f"read_{size}": Figure(f"letters of {size} px read", "of those read in the original: 1 is all")
        for size in SIZES
    },
}
"""All figures by name. The bounds are our own: what a good model stays below on these clips, with room."""


_GAIN, _BIAS = (0.03, 0.15), (2.0, 8.0)
"""From where on the distance of a gain from 1, and a bias of either sign, is odd, and bad."""


def verdict(name: str, value: float) -> str:
    """Good, odd or bad in a word; of a value that cannot be taken nothing."""
    if math.isnan(value):
        return ""
    distance, (odd, bad) = value, (FIGURES[name].odd, FIGURES[name].bad)
    if name.startswith("gain_"):
        distance, (odd, bad) = abs(value - 1.0), _GAIN
    elif name.startswith("bias_"):
        distance, (odd, bad) = abs(value), _BIAS
    return "bad" if distance >= bad else "odd" if distance >= odd else "good"


def shown(name: str, value: float) -> str:
    """A value of a figure as people read it; of borders that are not there, or an error that is not, in words."""
    if math.isnan(value):
        return "not cut" if name == "tiles" else "no error"
    return f"{value:.4g}"


def faults_steps(ae: Autoencoder, tiling: Tiling, ocr: bool = False) -> Steps[dict[str, float]]:
    """Every figure of one model, as steps: clip after clip, then clips of few frames.

    Args:
        ocr: whether text is read too, see `reading`.

    Raises:
        ConfigError: a tile size is not legal.
    """
    outputs = {}
    for done, name in enumerate(CLIPS, start=1):
        outputs[name] = _output(ae, _clip(name), tiling)
        yield Progress("faults", done, len(CLIPS))
    found = {"not_finite": float(sum((~y.isfinite()).sum().item() for y in outputs.values()))}
    outputs = {name: y.nan_to_num(0.0, 1e4, -1e4) for name, y in outputs.items()}
    found |= _of_colours(outputs) | _of_time(ae, outputs)
    found["counts"] = yield from _failing_counts(ae, tiling)
    found |= _of_borders(ae, outputs, tile_plans(ae, FRAMES, SIDE, SIDE, tiling)[1])
    for size in SIZES if ocr else ():
        clip = written(size)
        found[f"read_{size}"] = letters_read(clip.float(), _output(ae, clip, tiling).nan_to_num(0.0))
    return {name: found[name] for name in FIGURES if name in found}


def _of_colours(outputs: dict[str, Tensor]) -> dict[str, float]:
    gain, bias = f.gains(_grey("ramp"), outputs["ramp"])
    errors = torch.stack([bias, *((outputs[colour] - _grey(colour)).mean((0, 2, 3)).double() for colour in COLOURS)])
    worst = errors.gather(0, errors.abs().argmax(0, keepdim=True))[0]
    order = f.colour_order(_grey("ramp"), outputs["ramp"])
    return {
        "grid": max(f.grid_level(outputs[colour]) for colour in COLOURS),
        **{f"gain_{colour}": value for colour, value in zip(_COLOURS, gain.tolist(), strict=True)},
        **{f"bias_{colour}": value for colour, value in zip(_COLOURS, worst.tolist(), strict=True)},
        "order": float(sum(found != right for found, right in zip(order, "RGB", strict=True))),
    }


def _of_time(ae: Autoencoder, outputs: dict[str, Tensor]) -> dict[str, float]:
    moving = {name: f.psnr_of_frames(_grey(name), outputs[name]) for name in ("moving edge", "moving text")}
    group = ae.temporal_stride
    return {
        "misplaced": float(f.misplaced_frames(_grey("moving edge"), outputs["moving edge"])),
        "position": max(f.position_spread(values, group) for values in moving.values()),
        "ends": max(f.end_gap(values, group) for values in moving.values()),
        "flicker": max(f.still_flicker(outputs[name]) for name in _STILL),
        "leak": f.leak(_grey("flash"), outputs["flash"], FLASH_AT - 1, FLASH_AT + 1),
        "cut_leak": f.leak(_grey("black to white"), outputs["black to white"], STEP_AT - 1, STEP_AT),
        "edge_psnr": moving["moving edge"].mean().item(),
        "text_psnr": moving["moving text"].mean().item(),
        "zone_psnr": f.psnr_of_frames(_grey("zone plate"), outputs["zone plate"]).mean().item(),
    }


def _of_borders(ae: Autoencoder, outputs: dict[str, Tensor], plan: TilePlan) -> dict[str, float]:
    pairs = [(_grey(name), outputs[name]) for name in ("moving edge", "zone plate", "flash")]
    cells = [f.border_ratio(x, y, ae.spatial_stride) for x, y in pairs]
    tiles = [f.seam_ratio(x, y, plan, ae.spatial_stride) for x, y in pairs]
    return {"cells": _median(cells), "tiles": _median(tiles)}


def _failing_counts(ae: Autoencoder, tiling: Tiling) -> Steps[float]:
    """How many of the numbers of frames from 1 to two latents' and one go wrong: every residue by the stride."""
    most = min(2 * ae.temporal_stride + 1, FRAMES)
    x, worst = _grey("moving edge"), []
    for count in range(1, most + 1):
        try:
            y = _output(ae, _clip("moving edge")[:count], tiling)
        except WorkbenchError:
            worst.append(-math.inf)
        else:
            right = len(y) == count and bool(y.isfinite().all())
            worst.append(f.psnr_of_frames(x[:count], y).mean().item() if right else -math.inf)
        yield Progress("numbers of frames", count, most)
    usual = torch.tensor(worst).median().item()
    return float(sum(value == -math.inf or value < usual - 3.0 for value in worst))


def _output(ae: Autoencoder, frames_TCHW: Tensor, tiling: Tiling) -> Tensor:
    """Grey levels (T, 3, H, W) of a clip's reconstruction, not clamped; all NaN where any is not finite."""
    try:
        _, y, *_ = drain(round_trip_steps(ae, frames_TCHW.contiguous(), tiling))
    except NonFiniteError:
        return torch.full(frames_TCHW.shape, math.nan)
    return (y[0].transpose(0, 1).float().cpu() + 1.0) * 127.5


@cache
def _clip(name: str) -> Tensor:
    return CLIPS[name]()


def _grey(name: str) -> Tensor:
    return _clip(name).float()


def _median(values: list[float]) -> float:
    known = sorted(value for value in values if math.isfinite(value))
    return known[len(known) // 2] if known else math.nan
