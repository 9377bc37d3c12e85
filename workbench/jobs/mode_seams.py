"""What each tiling mode does to a clip: against one piece, against the original, and at the borders of its tiles."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor

from workbench.compare.seams import find_seams
from workbench.errors import ConfigError
from workbench.media.video import to_float
from workbench.metrics.psnr import psnr
from workbench.models.attention import attends, attention_as_mean
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.roundtrip.clip import round_trip_steps
from workbench.steps import Steps, named
from workbench.tile_settings import ONE_PIECE, Tiling

WHOLE, WITHOUT_ATTENTION = "one piece", "one piece, attention as its mean"


@dataclass(frozen=True)
class ModeSeams:
    """One way to run a model on a clip.

    Attributes:
        psnr: dB against the original, the mean of the frames.
        difference, largest: to the clip in one piece, in grey levels of 255: the mean, and the largest of any value.
        time, height, width: how many times larger the jumps of that difference are where the tiles of mode `tiles`
            begin and end than elsewhere: about 1 where no seam shows, NaN where there is no border or no difference.
    """

    way: str
    psnr: float
    difference: float
    largest: float
    time: float
    height: float
    width: float


def mode_seams_job(ae: Autoencoder, frames: Tensor, modes: Sequence[str], tiling: Tiling) -> Steps[list[ModeSeams]]:
    """Run a clip in one piece, so again without attention where the model has any, and in every mode.

    Args:
        frames: uint8 (T, 3, H, W).
        tiling: sizes and overlap of the tiles; its mode is not looked at.

    Raises:
        ConfigError: the clip is no larger than a tile, or the model cannot be run in a mode.
    """
    num_frames, height, width = len(frames), *frames.shape[2:]
    plan = tile_plans(ae, num_frames, height, width, tiling.in_mode("tiles"))[1]
    if len(plan) == 1:
        raise ConfigError("the clip is a single tile, which has no seams: give smaller tiles or a larger clip")
    ways = [(WHOLE, ONE_PIECE), *[(WITHOUT_ATTENTION, ONE_PIECE)] * attends(ae)]
    ways += [(mode, tiling.in_mode(mode)) for mode in modes]
    original = to_float(frames)
    whole, rows = original, []
    for way, asked in ways:
        with attention_as_mean(ae) if way == WITHOUT_ATTENTION else nullcontext():
            _, y, *_ = yield from named(way, round_trip_steps(ae, frames, asked))
        output = y[0].transpose(0, 1).clamp_(-1.0, 1.0)
        whole = output if way == WHOLE else whole
        seams = find_seams(output, whole, plan, data_range=2.0)
        difference = (output - whole).abs_() * 127.5
        ratios = [jump.ratio if way in modes else math.nan for jump in seams.jumps.values()]
        quality = psnr(original, output, 2.0).mean().item()
        rows.append(ModeSeams(way, quality, difference.mean().item(), difference.max().item(), *ratios))
    return rows
