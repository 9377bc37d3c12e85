"""What each tiling mode does to a clip: against one piece, against the original, and at the borders of its tiles."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from workbench.compare.seams import Jump, Seams, find_seams
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
_NO_JUMP = Jump(math.nan, math.nan)


@dataclass(frozen=True)
class ModeSeams:
    """One way to run a model on a clip.

    Attributes:
        psnr: dB against the original, the mean of the frames.
        largest: difference of any value to the clip in one piece, in grey levels of 255.
        seams: that difference over the frame, and its jumps where the tiles of mode `tiles` begin and end.
    """

    way: str
    psnr: float
    largest: float
    seams: Seams

    @property
    def figures(self) -> dict[str, Any]:
        """What a table tells: `difference` is the mean over the clip; `time`, `height` and `width` are how many times
        larger jumps are at borders of tiles than elsewhere, about 1 where no seam shows, NaN where there is no border
        or no difference.
        """
        ratios = {axis: jump.ratio for axis, jump in self.seams.jumps.items()}
        difference = self.seams.map_HW.mean().item()
        return {"way": self.way, "psnr": self.psnr, "difference": difference, "largest": self.largest} | ratios


def mode_seams_job(
    ae: Autoencoder, frames: Tensor, modes: Sequence[str], tiling: Tiling, without_attention: bool = False
) -> Steps[list[ModeSeams]]:
    """Run a clip in one piece and in every mode.

    Args:
        frames: uint8 (T, 3, H, W).
        tiling: sizes and overlap of the tiles; its mode is not looked at.
        without_attention: in one piece once more with what attention gives as its mean, where the model has any.

    Raises:
        ConfigError: the clip is no larger than a tile, or the model cannot be run in a mode.
    """
    num_frames, height, width = len(frames), *frames.shape[2:]
    plan = tile_plans(ae, num_frames, height, width, tiling.in_mode("tiles"))[1]
    if len(plan) == 1:
        raise ConfigError("the clip is a single tile, which has no seams: give smaller tiles or a larger clip")
    ways = [(WHOLE, ONE_PIECE), *[(WITHOUT_ATTENTION, ONE_PIECE)] * (without_attention and attends(ae))]
    ways += [(mode, tiling.in_mode(mode)) for mode in modes]
    original = to_float(frames)
    whole, rows = original, []
    for way, asked in ways:
        with attention_as_mean(ae) if way == WITHOUT_ATTENTION else nullcontext():
            _, y, *_ = yield from named(way, round_trip_steps(ae, frames, asked))
        output = y[0].transpose(0, 1).clamp_(-1.0, 1.0)
        whole = output if way == WHOLE else whole
        seams = find_seams(output, whole, plan, data_range=2.0)
        if way not in modes:  # nothing was cut
            seams = replace(seams, jumps=dict.fromkeys(seams.jumps, _NO_JUMP))
        largest = (output - whole).abs_().max().item() * 127.5
        rows.append(ModeSeams(way, psnr(original, output, 2.0).mean().item(), largest, seams))
    return rows
