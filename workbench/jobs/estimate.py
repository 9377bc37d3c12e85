"""What a reconstruction will take, worked out from the file's header before anything runs."""

import math
from dataclasses import dataclass
from pathlib import Path

from workbench.jobs.choices import Choices
from workbench.jobs.found_models import shape_of
from workbench.media.info import MediaInfo
from workbench.media.resolution import plan_resize
from workbench.models.base import Autoencoder
from workbench.models.catalogue import PREFIX
from workbench.models.cost import coding_cost
from workbench.models.plans import mode_of, tile_plans
from workbench.models.ref import ModelRef
from workbench.tile_settings import ONE_PIECE
from workbench.tiling import TilePlan

# Of one slab of output frames: the blend, the finished and the unfinished copy that leave it, and its rounding.
_FLOAT_COPIES_OF_A_SLAB = 4


@dataclass(frozen=True)
class Estimate:
    """A job before it runs. `num_frames` is what the file claims; None where it does not say, and then no tile counts.

    Attributes:
        latent_shape: (C, t, h, w).
        is_streamed: whether whole frames are streamed, and nothing is cut; `tile_shape` is then what is taken at once.
        tile_shape: frames, height and width of every tile of the encoder.
        frame_bytes: of the frames that are held outside the model, as one span in time of the output.
    """

    num_frames: int | None
    claimed_frames: int | None
    height: int
    width: int
    latent_shape: tuple[int, int, int, int]
    is_streamed: bool
    encode_tiles: int
    decode_tiles: int
    overlap_cost: float
    tile_shape: tuple[int, int, int]
    frame_bytes: int

    @property
    def pixel_values(self) -> int:
        return (self.num_frames or 1) * self.height * self.width * 3

    @property
    def latent_values(self) -> int:
        return math.prod(self.latent_shape)


def estimate(choices: Choices, info: MediaInfo, entry: ModelRef) -> Estimate:
    """What the job will take. Weights that are here tell the architecture; for others, nothing is downloaded.

    Raises:
        WeightsError: the weights are of another model, or the folder holds none.
        ConfigError: a choice is not possible for this model or clip.
    """
    policy, claimed = choices.policy, info.estimated_frames
    num_frames = policy.taken_of(claimed)
    ae = shape_of(known_model(entry))
    height, width = taken_size(ae, info, policy.resolution)
    shape = num_frames or ae.default_tile_frames, height, width
    is_streamed = mode_of(ae, choices.tiling) != "tiles"
    plans = tile_plans(ae, *shape, ONE_PIECE if is_streamed else choices.tiling)
    return Estimate(
        num_frames=num_frames,
        claimed_frames=claimed,
        height=height,
        width=width,
        latent_shape=ae.latent_shape(*shape),
        is_streamed=is_streamed,
        encode_tiles=len(plans[0]),
        decode_tiles=len(plans[1]),
        overlap_cost=plans[0].input_volume / math.prod(shape),
        tile_shape=(ae.default_push_frames, ae.legal_side(height), ae.legal_side(width))
        if is_streamed
        else plans[0].tile_shape,
        frame_bytes=_slab_bytes(plans[1], height, width),
    )


def encode_share(choices: Choices, info: MediaInfo, ae: Autoencoder) -> float | None:
    """The encoder's share of the operations of a clip that is cut into tiles; None where it is streamed, and decoded
    soon, where the clip's length is unknown, or where nothing can be counted."""
    num_frames = choices.policy.taken_of(info.estimated_frames)
    if num_frames is None or ae.name.startswith(PREFIX) or mode_of(ae, choices.tiling) != "tiles":
        return None
    encode, decode = coding_cost(
        ae, (num_frames, *taken_size(ae, info, choices.policy.resolution)), choices.tiling
    ).stages
    return encode.operations / max(encode.operations + decode.operations, 1.0)


def taken_size(ae: Autoencoder, info: MediaInfo, resolution: str | None) -> tuple[int, int]:
    """Height and width of the frames that the model gets."""
    if resolution is None:
        return info.height, info.width
    resize = plan_resize(resolution, info.height, info.width, ae.spatial_stride)
    return resize.crop_height, resize.crop_width


def known_model(entry: ModelRef) -> ModelRef:
    """The model, with its weights where they are here and so can tell its architecture."""
    local = (
        entry.weights if entry.weights and Path(entry.weights).is_absolute() and Path(entry.weights).exists() else None
    )
    return ModelRef(entry.name, local)


def _slab_bytes(plan: TilePlan, height: int, width: int) -> int:
    frames = max(span.out_stop - span.out_start for span in plan.time.spans)
    return frames * height * width * 3 * (1 + 4 * _FLOAT_COPIES_OF_A_SLAB)
