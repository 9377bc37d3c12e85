"""The work of the Tiles tab: what a plan looks like and costs, and the seams that it leaves."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from workbench.errors import ConfigError, MediaError
from workbench.jobs.choices import Choices
from workbench.jobs.estimate import bytes_in_model, frame_bytes, stage_words
from workbench.jobs.mode_seams import WHOLE, ModeSeams, mode_seams_job
from workbench.media.info import MediaInfo
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.stream import open_stream
from workbench.media.whole import read_clip_steps
from workbench.models.base import Autoencoder
from workbench.models.cost import coding_cost
from workbench.models.plans import Size, decode_plan, encode_plan, tile_plans
from workbench.steps import Steps
from workbench.tile_settings import FIXED_MODES, ONE_PIECE, Tiling
from workbench.tiling import TilePlan

WAYS = (WHOLE, *FIXED_MODES)
"""To run a clip: all at once, and every mode."""

_DEFAULT_FRAMES = 32  # where a file does not say how many it has


@dataclass(frozen=True)
class PlannedTiles:
    """The tiles of a clip, as its header describes it.

    Attributes:
        frame: one frame of the clip, uint8 (3, H, W), at the size that is taken.
        plans: to encode and to decode.
    """

    frame: Tensor
    num_frames: int
    plans: tuple[TilePlan, TilePlan]


@dataclass(frozen=True)
class SeamReport:
    """Modes against one piece on one clip.

    Attributes:
        rows: one piece and every mode that ran; empty where the plan is a single tile, which leaves no seam.
        refused: why the model cannot be run in the other modes.
    """

    rows: list[ModeSeams]
    refused: dict[str, str]
    tiles: int
    num_frames: int


@dataclass(frozen=True)
class ModeCost:
    """One of the tiling modes on a clip; all else is as without it where it is `refused`.

    Attributes:
        stages: what each stage of encoder and decoder does, in words.
        operations: to encode and decode the clip, 2 for a multiply-add.
        work: what overlaps cost, see `models.cost.work_ratio`.
        peak_bytes: of weights, work and frames, as `jobs.estimate` counts them before a run.
        refused: why the model cannot be run so.
    """

    mode: str
    stages: tuple[str, ...] = ()
    operations: float = math.nan
    work: float = math.nan
    peak_bytes: float = math.nan
    refused: str = ""


def mode_costs(ae: Autoencoder, size: tuple[int, int, int], tiling: Tiling) -> Iterator[ModeCost]:
    """All WAYS in their order with tiles of this size, in the type of the model, which may be without memory: each as
    soon as it is counted.

    Args:
        size: frames, height and width.
    """
    for way in WAYS:
        yield _mode_cost(ae, size, way, ONE_PIECE if way == WHOLE else tiling.in_mode(way))


def _mode_cost(ae: Autoencoder, size: tuple[int, int, int], mode: str, tiling: Tiling) -> ModeCost:
    try:
        plans = encode_plan(ae, size, tiling), decode_plan(ae, size, tiling)
        cost = coding_cost(ae, size, tiling)
    except ConfigError as error:
        return ModeCost(mode, refused=str(error))
    peak_bytes = sum(bytes_in_model(cost, tiling.tiling_mode == "tiles")) + frame_bytes(ae, plans[1])
    return ModeCost(mode, stage_words(plans), cost.operations, cost.work, peak_bytes)


def plan_tiles(choices: Choices, ae: Autoencoder, frame: int = 0) -> PlannedTiles:
    """The plan for a clip, from its header and one frame alone; the model may be without memory.

    Args:
        frame: which to show; the first where the clip has no such frame.

    Raises:
        MediaError: the clip cannot be read.
        ConfigError: none was given, or a choice is not possible for this model or clip.
    """
    policy = choices.policy
    info, picture = _one_frame(choices.path, frame)
    if policy.resolution:
        resize = plan_resize(policy.resolution, info.height, info.width, ae.spatial_stride)
        picture = apply_resize(picture[None], resize)[0]
    num_frames = policy.taken_of(info.estimated_frames) or _DEFAULT_FRAMES
    plans = tile_plans(ae, num_frames, picture.shape[1], picture.shape[2], choices.tiling)
    return PlannedTiles(picture, num_frames, plans)


def _one_frame(path: Path, index: int) -> tuple[MediaInfo, Tensor]:
    try:
        with open_stream(path, max_frames=1, start_frame=index) as stream:
            return stream.info, next(stream)
    except (MediaError, StopIteration):
        if not index:
            raise
        return _one_frame(path, 0)


def seam_job(choices: Choices, ae: Autoencoder, modes: Sequence[str]) -> Steps[SeamReport]:
    """Reconstruct a clip in one piece and in each mode, and compare; first comes one piece, then Progress of each.

    Raises:
        MediaError: the clip is missing, cannot be read or not into memory.
        ConfigError: a tile size is not legal for the model, or it cannot be run in any of the modes.
    """
    if not modes:
        raise ConfigError("no mode is chosen to compare with one piece: take at least one")
    clip, frames = yield from read_clip_steps(choices.path, choices.policy, ae.spatial_stride)
    size = clip.num_frames, clip.height, clip.width
    tiles = len(tile_plans(ae, *size, choices.tiling)[1])
    if tiles == 1:
        return SeamReport([], {}, tiles, size[0])
    refusals = {mode: _refusal(ae, size, choices.tiling.in_mode(mode)) for mode in modes}
    allowed = [mode for mode, refusal in refusals.items() if refusal is None]
    if not allowed:
        raise ConfigError("; ".join(why for why in refusals.values() if why))
    rows = yield from mode_seams_job(ae, frames, allowed, choices.tiling)
    return SeamReport(rows, {mode: why for mode, why in refusals.items() if why}, tiles, size[0])


def _refusal(ae: Autoencoder, size: Size, tiling: Tiling) -> str | None:
    """Why a model cannot be run so; None where it can."""
    try:
        encode_plan(ae, size, tiling), decode_plan(ae, size, tiling)
    except ConfigError as error:
        return str(error)
    return None
