"""What a plan costs a model: operations and memory, counted on tensors that have shapes but no values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from math import prod
from operator import mul

import torch

from workbench.counting import Counter
from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.models.catalogue import MODELS
from workbench.models.plans import Size, decode_plan, encode_plan
from workbench.models.registry import architecture_of, build_autoencoder
from workbench.stages import CodingPlan, StreamPlan, TiledPlan
from workbench.tile_settings import ONE_PIECE, Tiling

_LATENTS = 10
"""Latents in time after which every convolution of a stage that is streamed holds all that it ever holds."""

_LATENTS_OF_WINDOWS = 60
"""The same where attention in windows is streamed, which waits for half a window in every layer."""


@dataclass(frozen=True)
class StageCost:
    """What one stage costs, in the type of the model.

    Attributes:
        direction: "encode" or "decode".
        once: operations, 2 for a multiply-add, were its input read only once.
        operations: as planned.
        work_bytes: what its work takes at its worst moment beside what it holds, input and output included; without
            weights and the allocator's losses; convolutions copy their input, see `Counter`.
        held_bytes: what it keeps while others work: what waits for it, what is blended of it, what its layers need
            again.
    """

    name: str
    direction: str
    once: float
    operations: float
    work_bytes: float
    held_bytes: float


@dataclass(frozen=True)
class CodingCost:
    """What encoding and decoding a clip costs, stage by stage: all hold something all the time, one works at a time."""

    stages: tuple[StageCost, ...]
    weight_bytes: int

    def stages_of(self, direction: str) -> tuple[StageCost, ...]:
        """Those of one direction."""
        return tuple(stage for stage in self.stages if stage.direction == direction)

    @property
    def operations(self) -> float:
        return sum(stage.operations for stage in self.stages)

    @property
    def work(self) -> float:
        """What overlaps cost: operations over what they were if every stage read its input once."""
        return self.operations / max(sum(stage.once for stage in self.stages), 1)

    @property
    def peak_bytes(self) -> float:
        """With the weights, and without the clip."""
        return self.weight_bytes + _side_by_side(self.stages)

    def peak_bytes_of(self, direction: str) -> float:
        """Of one direction alone, without weights and clip."""
        return _side_by_side(self.stages_of(direction))


def _side_by_side(stages: tuple[StageCost, ...]) -> float:
    return sum(stage.held_bytes for stage in stages) + max(stage.work_bytes for stage in stages)


def is_counted(ae: Autoencoder) -> bool:
    """Whether `coding_cost` can: it builds models of `MODELS` anew, without values; no others, alone or in a pair."""
    return {ae.encoding_model.name, ae.decoding_model.name} <= MODELS.keys()


def coding_cost(ae: Autoencoder, size: Size, tiling: Tiling) -> CodingCost:
    """What a clip of this size costs a model of `MODELS`, which may itself be on the meta device.

    Of a stage that is streamed only the first frames are counted. For the full Video DC-AE that takes 1 to 2 s of CPU,
    in windows 9 s for 96 frames and at most about 25 s, from 240 frames on. Asked for the same again, it takes none.

    Raises:
        ConfigError: as `encode_plan`; or the model is not one that `is_counted`.
    """
    if ae.encoding_model is not ae:  # a pair
        first, second = (coding_cost(model, size, tiling) for model in (ae.encoding_model, ae.decoding_model))
        stages = first.stages_of("encode") + second.stages_of("decode")
        return CodingCost(stages, first.weight_bytes + second.weight_bytes)
    if not is_counted(ae):
        raise ConfigError(f"{ae.name}: what a plan costs is counted for {', '.join(MODELS)} alone")
    tiling = Tiling(*(getattr(tiling, field.name) for field in fields(Tiling)))  # without settings of a subclass
    return _cost(ae.name, json.dumps(architecture_of(ae)), size, tiling, ae.dtype)


def encode_share(ae: Autoencoder) -> float | None:
    """The encoder's share of the operations of encoding and decoding, nearly the same for every clip; None for a model
    of diffusers, whose cannot be counted."""
    if not is_counted(ae):
        return None
    side = 2 * ae.spatial_stride
    cost = coding_cost(ae, (ae.default_tile_frames, side, side), ONE_PIECE)
    return sum(stage.operations for stage in cost.stages_of("encode")) / max(cost.operations, 1.0)


def work_ratio(ae: Autoencoder, size: Size, tiling: Tiling, plans: tuple[CodingPlan, CodingPlan]) -> float:
    """`CodingCost.work` of a clip of this size: what overlaps cost, 1 where every stage reads its input once.

    Operations that run, over those of one piece, can be others: a stream adds products with the zeros around a clip
    (`tiny`: 7 % for 8 frames, 1 % for 40), and attention within tiles needs fewer than over all of a clip
    (`hunyuan_vae` at 160 frames of 1280x720: 2.05 times those of one piece, where `work` is 2.45). `bench` counts them.

    Args:
        plans: of encoding and of decoding it.
    """
    ratios = [stage.input_volume / prod(stage.size) for plan in plans for stage in plan.stages]
    if len(ratios) == len(plans) or len(set(ratios)) == 1:
        return sum(ratios) / len(ratios)  # nearly the same: encoder and decoder have the same tiles
    once = [stage.once for stage in coding_cost(ae, size, tiling).stages]
    return sum(map(mul, ratios, once)) / sum(once)


@lru_cache(64)
def _cost(name: str, architecture: str, size: Size, tiling: Tiling, dtype: torch.dtype) -> CodingCost:
    with torch.device("meta"):
        twin = build_autoencoder(name, json.loads(architecture)).to("meta").eval()
    with torch.no_grad():
        itemsize = dtype.itemsize  # all is counted in float32, and scaled
        weights = sum(tensor.numel() for tensor in (*twin.parameters(), *twin.buffers())) * itemsize
        plans = encode_plan(twin, size, tiling), decode_plan(twin, size, tiling)
        channels = 3, twin.latent_channels
        ways = zip(("encode", "decode"), plans, channels, strict=True)
        stages = [cost for way in ways for cost in _stages(*way, itemsize)]
    return CodingCost(tuple(stages), weights)


def _stages(direction: str, plan: CodingPlan, channels: int, itemsize: int) -> Iterator[StageCost]:
    for stage in plan.stages:
        if isinstance(stage, StreamPlan):
            counted, channels = _streamed(stage, channels, itemsize)
        else:
            counted, channels = _tiled(stage, channels, itemsize)
        yield StageCost(stage.stage.name, direction, *counted)


def _streamed(plan: StreamPlan, channels: int, itemsize: int) -> tuple[tuple[float, ...], int]:
    """The numbers of a `StageCost`, and the channels of the stage's output."""
    frames, height, width = plan.size
    enough = plan.stage.frames_of(_LATENTS if plan.stage.is_exact else _LATENTS_OF_WINDOWS)
    counted = min(frames, -(-enough // plan.push) * plan.push)
    push = plan.stage.stream(plan.push)
    held = 0
    with Counter(reorders=True) as counter:
        for start in range(0, counted, plan.push):
            x = torch.empty(1, channels, min(plan.push, counted - start), height, width, device="meta")
            for y in push(x, start + plan.push >= counted):
                channels_out, held = y.shape[1], max(held, counter.bytes)
            held = max(held, counter.bytes)
    operations = counter.operations * frames / counted
    bytes_each = itemsize / 4
    return (operations, operations, (counter.peak_bytes - held) * bytes_each, held * bytes_each), channels_out


def _tiled(plan: TiledPlan, channels: int, itemsize: int) -> tuple[tuple[float, ...], int]:
    """The numbers of a `StageCost`, and the channels of the stage's output."""
    tiles = plan.tiles
    with Counter(reorders=True) as counter:
        y = plan.stage.run(torch.empty(1, channels, *tiles.tile_shape, device="meta"))
    waiting = channels * tiles.tile_shape[0] * prod(plan.size[1:]) * itemsize
    longest = max(span.out_stop - span.out_start for span in tiles.time.spans)
    blend = 2 * 4 * y.shape[1] * longest * tiles.height.out_length * tiles.width.out_length  # float32, and what leaves
    operations = counter.operations * len(tiles)
    once = operations * prod(plan.size) / tiles.input_volume
    work_bytes = counter.peak_bytes * itemsize / 4
    return (once, operations, work_bytes, waiting + blend), y.shape[1]
