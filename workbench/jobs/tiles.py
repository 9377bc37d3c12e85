"""The work of the Tiles tab: what a plan looks like and costs, and the seams that it leaves."""

from dataclasses import dataclass

from torch import Tensor

from workbench.compare.seams import Seams, find_seams
from workbench.evaluate.clip import read_clip_steps
from workbench.jobs.choices import Choices
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.stream import open_stream
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_steps, encode_steps
from workbench.models.plans import tile_plans
from workbench.steps import Progress, Steps
from workbench.tile_settings import ONE_PIECE
from workbench.tiling import TilePlan

_DEFAULT_FRAMES = 32  # where a file does not say how many it has


@dataclass(frozen=True)
class PlannedTiles:
    """The tiles of a clip, as its header describes it.

    Attributes:
        frame: the clip's first frame, uint8 (3, H, W), at the size that is taken.
        plans: to encode and to decode.
    """

    frame: Tensor
    num_frames: int
    plans: tuple[TilePlan, TilePlan]

    @property
    def read_ratio(self) -> float:
        """Samples that the encoder's tiles read, over those of the clip."""
        return self.plans[0].input_volume / (self.num_frames * self.frame.shape[1] * self.frame.shape[2])


@dataclass(frozen=True)
class SeamReport:
    """Tiled against untiled on one clip; `seams` is None where the plan is a single tile, which leaves none."""

    seams: Seams | None
    tiles: int
    num_frames: int


def plan_tiles(choices: Choices, ae: Autoencoder) -> PlannedTiles:
    """The plan for a clip, from its header and first frame alone; the model may be without memory.

    Raises:
        MediaError: the clip cannot be read.
        ConfigError: none was given, or a choice is not possible for this model or clip.
    """
    policy = choices.policy
    with open_stream(choices.path, max_frames=1) as stream:
        info, frame = stream.info, next(stream)
    if policy.resolution:
        resize = plan_resize(policy.resolution, info.height, info.width, ae.spatial_stride)
        frame = apply_resize(frame[None], resize)[0]
    num_frames = policy.taken_of(info.estimated_frames) or _DEFAULT_FRAMES
    return PlannedTiles(frame, num_frames, tile_plans(ae, num_frames, frame.shape[1], frame.shape[2], choices.tiling))


def seam_job(choices: Choices, ae: Autoencoder) -> Steps[SeamReport]:
    """Reconstruct a clip with and without tiles, and compare; first comes one piece, then a Progress after every tile.

    Raises:
        MediaError: the clip is missing, cannot be read or not into memory.
        ConfigError: a tile size is not legal for the model.
    """
    clip, frames = yield from read_clip_steps(choices.path, choices.policy, ae.spatial_stride)
    x = frames.transpose(0, 1)[None]
    size = clip.num_frames, clip.height, clip.width
    plan = tile_plans(ae, *size, choices.tiling)[1]
    if len(plan) == 1:
        return SeamReport(None, 1, size[0])
    clips = []
    for name, tiling in (("one piece", ONE_PIECE), ("tiles", choices.tiling)):
        z = yield from _named(name, encode_steps(ae, x, tiling))
        y = yield from _named(name, decode_steps(ae, z, tiling, size[0], size[1:]))
        clips.append(y[0].transpose(0, 1).clamp(-1.0, 1.0))
    untiled, tiled = clips
    return SeamReport(find_seams(tiled, untiled, plan, data_range=2.0), len(plan), size[0])


def _named(name: str, steps: Steps[Tensor]) -> Steps[Tensor]:
    """The same steps as stages of their own."""
    try:
        while True:
            progress = next(steps)
            yield Progress(f"{name}: {progress.stage}", progress.done, progress.total)
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()
