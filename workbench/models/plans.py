"""What will be computed for a clip, as data: the stages of an autoencoder, pushes and tiles of each."""

from dataclasses import replace

from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.stages import CodingPlan, GlobalStage, LocalStage, Stage, StreamPlan, TiledPlan, Window, strips_of
from workbench.tile_settings import Tiling
from workbench.tiling import (
    TilePlan,
    plan_decode_side,
    plan_decode_time,
    plan_encode_side,
    plan_encode_time,
    whole_axis,
)

Size = tuple[int, int, int]
"""Frames, height and width of a clip."""


def encode_plan(
    ae: Autoencoder, size: Size, tiling: Tiling, ranks: int = 1, sample_posterior: bool = False
) -> CodingPlan:
    """How a clip of this size is encoded.

    Args:
        ranks: how many processes share the work.
        sample_posterior: as in `Autoencoder.encode`, for every tile.

    Raises:
        ConfigError: a tile size is not legal for the model, the nearest legal ones are named; or the model cannot be
            run in this way.
    """
    ae = ae.encoding_model
    is_whole = sample_posterior or mode_of(ae, tiling) == "tiles"
    stages: list[Stage] = [ae.whole_encoder(sample_posterior)] if is_whole else ae.encode_stages()
    return _coding_plan(ae, stages, size, tiling, ranks, encodes=True)


def decode_plan(ae: Autoencoder, size: Size, tiling: Tiling, ranks: int = 1) -> CodingPlan:
    """How the latents of a clip of this size are decoded; the rest as in `encode_plan`."""
    ae, is_image = ae.decoding_model, size[0] == 1
    is_whole = mode_of(ae, tiling) == "tiles"
    stages: list[Stage] = [ae.whole_decoder(is_image)] if is_whole else ae.decode_stages(is_image)
    return _coding_plan(ae, stages, size, tiling, ranks, encodes=False)


def tile_plans(ae: Autoencoder, num_frames: int, height: int, width: int, tiling: Tiling) -> tuple[TilePlan, TilePlan]:
    """The tiles of the whole model, as mode `tiles` has them, that encode a clip and that decode it: as many of each.

    Raises:
        ConfigError: a tile size is not legal for the model; the nearest legal ones are named.
    """
    size = num_frames, height, width
    first, second = ae.encoding_model, ae.decoding_model
    encode, decode = first.whole_encoder(), second.whole_decoder(num_frames == 1)
    common = size, ae.latent_shape(*size)[1:], tiling
    return _tiles(first, encode, *common, encodes=True), _tiles(second, decode, *common, encodes=False)


def check_tiling(ae: Autoencoder, tiling: Tiling) -> None:
    """Raise ConfigError, before there is a clip, where the model cannot be run in this way."""
    mode_of(ae, tiling)
    tile_plans(ae, ae.legal_frames(2), 1, 1, tiling)


def mode_of(ae: Autoencoder, tiling: Tiling) -> str:
    """How a clip is run. Who names the size of a tile, and no mode, wants tiles.

    Raises:
        ConfigError: the model's tiles are its own, and other ones are asked for; or a push is, where that is tiles.
    """
    if ae.tiles_are_own:
        _refuse_other_tiles(ae, tiling)
        return "stages"
    names_size = tiling.spatial_tile_size is not None or tiling.temporal_tile_size is not None
    mode = tiling.tiling_mode or ("tiles" if names_size else ae.default_tiling_mode)
    if mode == "tiles" and tiling.push_frames is not None:
        why = "a tile size asks for tiles" if names_size else f"{ae.name} is run in tiles"
        raise ConfigError(f"`push_frames`: {why}, where nothing is streamed; leave it out, or add `tiling_mode` stages")
    return mode


def _refuse_other_tiles(ae: Autoencoder, tiling: Tiling) -> None:
    size = ae.default_tile_pixels
    own = f"the tiles of {ae.name}, {size} pixels, are a part of the model"
    if tiling.spatial_tile_size not in (None, size):
        raise ConfigError(f"`spatial_tile_size`: {own}; use {size} or leave it out")
    if tiling.temporal_tile_size is not None:
        raise ConfigError(f"`temporal_tile_size`: {own}, and its frames are streamed; leave it out")
    if tiling.tile_overlap_factor != Tiling.tile_overlap_factor:
        raise ConfigError(f"`tile_overlap_factor`: {own}, and so is their overlap; leave it out")
    if tiling.tiling_mode in ("frames", "windows"):
        raise ConfigError(f"`tiling_mode`: {own}; use stages or leave it out")


def _coding_plan(
    ae: Autoencoder, stages: list[Stage], size: Size, tiling: Tiling, ranks: int, encodes: bool
) -> CodingPlan:
    """Each stage's input follows from the one before: of local stages by their cells, of global ones by the latents."""
    grid, mode = ae.latent_shape(*size)[1:], mode_of(ae, tiling)
    if mode == "auto":
        raise ValueError("tiling_mode auto has no plan before a choice is made: see workbench.models.auto")
    legal = ae.legal_size(*size)
    if mode == "windows":
        stages = [_windowed(ae, stage, tiling, grid) for stage in stages]
    elif mode == "frames":
        tiling = replace(tiling, use_spatial_tiling=False)
    sides = (legal if encodes else grid)[1:]
    plans: list[StreamPlan | TiledPlan] = []
    for stage in stages:
        frames = 1 if size[0] == 1 else stage.frames_of(grid[0])
        if isinstance(stage, LocalStage):
            plans.append(_stream_plan(ae, stage, (frames, *sides), tiling, ranks))
            sides = (sides[0] // stage.cell[0] * stage.cell[1], sides[1] // stage.cell[0] * stage.cell[1])
        else:
            finer = (grid[1] * stage.side, grid[2] * stage.side)
            out = size if not encodes and stage is stages[-1] else (frames, *finer)
            given = (frames, *sides) if encodes else grid
            plans.append(TiledPlan(stage, given, _tiles(ae, stage, out, grid, tiling, encodes)))
            sides = grid[1:] if encodes else finer
    return CodingPlan(tuple(plans), *((size, legal, grid) if encodes else (grid, grid, size)))


def _windowed(ae: Autoencoder, stage: Stage, tiling: Tiling, grid: Size) -> LocalStage:
    if isinstance(stage, LocalStage):
        return stage
    if stage.windowed is None:
        raise ConfigError(f"`tiling_mode`: {ae.name} has no attention in windows; use tiles, stages or frames")
    side, overlap = _spatial_tile(ae, tiling, grid)
    return stage.windowed(Window(_temporal_tile(ae, tiling, grid[0])[0], side, overlap))


def _stream_plan(ae: Autoencoder, stage: LocalStage, size: Size, tiling: Tiling, ranks: int) -> StreamPlan:
    push = -(-(tiling.push_frames or ae.default_push_frames) // stage.unit) * stage.unit
    shares = ranks > 1 and stage.reach is not None
    return StreamPlan(stage, size, push, strips_of(stage, size[1], ranks) if shares else None)


def _tiles(ae: Autoencoder, stage: GlobalStage, size: Size, grid: Size, tiling: Tiling, encodes: bool) -> TilePlan:
    """The tiles of a stage whose finer end is of this size, over a grid of latents."""
    plan_side = plan_encode_side if encodes else plan_decode_side
    spatial = _spatial_tile(ae, tiling, grid)
    height, width = (plan_side(side, stage.side, *spatial) for side in size[1:])
    tile, overlap = _temporal_tile(ae, tiling, grid[0])
    if size[0] == 1:
        return TilePlan(whole_axis(1, 1), height, width)
    time = (grid[0], tile, overlap, stage.frames_of, stage.context)
    return TilePlan(plan_encode_time(*time) if encodes else plan_decode_time(size[0], *time), height, width)


def tile_sizes(ae: Autoencoder, tiling: Tiling) -> tuple[int | None, int | None]:
    """Pixels of a side and frames of a tile, with the model's own sizes where none are asked for; None: not cut."""
    if ae.tiles_are_own:
        _refuse_other_tiles(ae, tiling)
    pixels = (tiling.spatial_tile_size or ae.default_tile_pixels) if tiling.use_spatial_tiling else None
    frames = (tiling.temporal_tile_size or ae.default_tile_frames) if tiling.use_temporal_tiling else None
    return pixels, frames


def _spatial_tile(ae: Autoencoder, tiling: Tiling, grid: Size) -> tuple[int, int]:
    """Side and overlap of a tile in latents."""
    stride = ae.spatial_stride
    pixels, _ = tile_sizes(ae, tiling)
    if pixels is None:
        return max(grid[1:]), 0
    if pixels % stride:
        legal = " or ".join(str(n * stride) for n in (pixels // stride, pixels // stride + 1) if n)
        raise ConfigError(f"`spatial_tile_size`: {pixels} is no multiple of {stride} ({ae.name}); use {legal}")
    return pixels // stride, _overlap(pixels // stride, tiling)


def _temporal_tile(ae: Autoencoder, tiling: Tiling, latents: int) -> tuple[int, int]:
    """Length and overlap of a tile in latents. A causal tile overlaps at least by the latent that is its context."""
    context = int(ae.causal)
    _, frames = tile_sizes(ae, tiling)
    if frames is None:
        return latents, context
    tile = ae.latent_frames(frames)
    if ae.frames_of(tile) != frames or tile <= context:
        legal = " or ".join(str(ae.frames_of(n)) for n in (tile - 1, tile, tile + 1) if n > context)
        raise ConfigError(f"`temporal_tile_size`: {ae.name} cannot take tiles of {frames} frames; use {legal}")
    return tile, max(context, _overlap(tile, tiling))


def _overlap(tile: int, tiling: Tiling) -> int:
    return int(tile * tiling.tile_overlap_factor + 1e-9)
