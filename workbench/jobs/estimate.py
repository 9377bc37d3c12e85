"""What a reconstruction will take, worked out from the file's header before anything runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.devices import pick_device, pick_dtype
from workbench.jobs.choices import Choices
from workbench.jobs.found_models import shape_of
from workbench.media.info import MediaInfo
from workbench.media.resolution import plan_resize
from workbench.models.base import Autoencoder
from workbench.models.cost import CodingCost, coding_cost
from workbench.models.plans import decode_plan, encode_plan, mode_of, tile_plans
from workbench.models.ref import ModelRef
from workbench.stages import CodingPlan, StreamPlan, TiledPlan
from workbench.tile_settings import ONE_PIECE

# Of one slab of output frames: the blend, the finished and the unfinished copy that leave it, and its rounding.
_FLOAT_COPIES_OF_A_SLAB = 4


@dataclass(frozen=True)
class Estimate:
    """A job before it runs. `num_frames` is what the file claims; None where it does not say, and then no tile counts.

    Attributes:
        latent_shape: (C, t, h, w).
        mode: one of `tile_settings.MODES`; of `auto`, which chooses when it runs, all else is as of `tiles`.
        is_streamed: whether whole frames are streamed, and nothing is cut; `tile_shape` is then what leaves
            the decoder at once.
        stages: what each stage of encoder and decoder does, in words.
        tile_shape: frames, height and width of every tile of the encoder, in mode `tiles`.
        frame_bytes: of the frames that are held outside the model, as one span in time of the output.
    """

    num_frames: int | None
    claimed_frames: int | None
    height: int
    width: int
    latent_shape: tuple[int, int, int, int]
    mode: str
    is_streamed: bool
    stages: tuple[str, ...]
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
    mode = mode_of(ae, choices.tiling)
    tiling = choices.tiling.in_mode("tiles" if mode == "auto" else mode)
    coding = encode_plan(ae, shape, tiling), decode_plan(ae, shape, tiling)
    is_streamed = all(one.is_exact and isinstance(stage, StreamPlan) for one in coding for stage in one.stages)
    given = frames_at_once(ae, coding[1]), ae.legal_side(height), ae.legal_side(width)
    plans = tile_plans(ae, *shape, ONE_PIECE if is_streamed else tiling)
    return Estimate(
        num_frames=num_frames,
        claimed_frames=claimed,
        height=height,
        width=width,
        latent_shape=ae.latent_shape(*shape),
        mode=mode,
        is_streamed=is_streamed,
        stages=stage_words(coding),
        encode_tiles=len(plans[0]),
        decode_tiles=len(plans[1]),
        overlap_cost=plans[0].input_volume / math.prod(shape),
        tile_shape=given if is_streamed else plans[0].tile_shape,
        frame_bytes=frame_bytes(ae, coding[1]),
    )


def stage_words(plans: Iterable[CodingPlan]) -> tuple[str, ...]:
    """What each stage does: STAGE: streamed, or in so many tiles."""
    return tuple(f"{stage.stage.name}: {_how(stage)}" for plan in plans for stage in plan.stages)


def _how(plan: StreamPlan | TiledPlan) -> str:
    if isinstance(plan, StreamPlan):
        return f"streamed, {plan.push} at once"
    return f"{plan.pieces} tiles" if plan.pieces > 1 else "in one piece"


def memory_of(choices: Choices, entry: ModelRef, job: Estimate) -> tuple[int, int]:
    """As `bytes_in_model`; counting takes up to some seconds where a model or a size is new."""
    ae = typed_shape(known_model(entry), choices.device)
    tiling = choices.tiling.in_mode("tiles") if job.mode == "auto" else choices.tiling
    cost = coding_cost(ae, (job.num_frames or ae.default_tile_frames, job.height, job.width), tiling)
    return bytes_in_model(cost, job.mode in ("tiles", "auto"))


def bytes_in_model(cost: CodingCost, is_tiled: bool) -> tuple[int, int]:
    """Bytes of the weights, and of all else in the model at its worst moment.

    Of what is streamed, all stages are at work at once. Of tiles, one is in the model at a time; what waits around them
    is among the `frame_bytes`.
    """
    work = max(stage.work_bytes for stage in cost.stages) if is_tiled else cost.peak_bytes - cost.weight_bytes
    return cost.weight_bytes, round(work)


def frame_bytes(ae: Autoencoder, decode: CodingPlan) -> int:
    """Of the frames that are held outside the model, see `Estimate`."""
    _, height, width = decode.output
    return frames_at_once(ae, decode) * height * width * 3 * (1 + 4 * _FLOAT_COPIES_OF_A_SLAB)


def frames_at_once(ae: Autoencoder, decode: CodingPlan) -> int:
    """Frames that leave the decoder together."""
    last = decode.stages[-1]
    if isinstance(last, TiledPlan):
        return max(span.out_stop - span.out_start for span in last.tiles.time.spans)
    # A decoder of one streamed stage is pushed latents, each of which stands for several frames. Behind another one the
    # last layers are pushed frames.
    push = last.push * (ae.temporal_stride if len(decode.stages) == 1 else 1)
    return min(push, decode.output[0])


def typed_shape(entry: ModelRef, device: str) -> Autoencoder:
    """The model of `shape_of`, in the type that the device runs it in."""
    return shape_of(entry).to(pick_dtype(None, pick_device(device)))


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
