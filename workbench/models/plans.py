"""Tile plans for an autoencoder: its strides, legal lengths and default tile sizes, as data for `workbench.tiling`."""

from workbench.errors import ConfigError
from workbench.models.base import Autoencoder
from workbench.tiling import (
    TilePlan,
    Tiling,
    plan_decode_side,
    plan_decode_time,
    plan_encode_side,
    plan_encode_time,
    whole_axis,
)


def tile_plans(
    ae: Autoencoder, num_frames: int, height: int, width: int, tiling: Tiling | None
) -> tuple[TilePlan, TilePlan]:
    """The tiles that encode a clip of this size and those that decode its latents: the same in number.

    Without a tiling, or where it is smaller than a tile, the clip is one tile.

    Raises:
        ConfigError: a tile size is not legal for the model; the nearest legal ones are named.
    """
    tile, overlap = _spatial_tile(ae, tiling, height, width)
    encode = [plan_encode_side(side, ae.spatial_stride, tile, overlap) for side in (height, width)]
    decode = [plan_decode_side(side, ae.spatial_stride, tile, overlap) for side in (height, width)]
    latents = ae.latent_frames(num_frames)
    tile, overlap = _temporal_tile(ae, tiling, latents)
    if num_frames == 1:
        return TilePlan(whole_axis(1, 1), *encode), TilePlan(whole_axis(1, 1), *decode)
    time = (tile, overlap, ae.frames_of, int(ae.causal))
    return (
        TilePlan(plan_encode_time(latents, *time), *encode),
        TilePlan(plan_decode_time(num_frames, latents, *time), *decode),
    )


def tile_sizes(ae: Autoencoder, tiling: Tiling) -> tuple[int | None, int | None]:
    """Pixels of a side and frames of a tile, with the model's own sizes where none are asked for; None: not cut."""
    pixels = (tiling.spatial_tile_size or ae.default_tile_pixels) if tiling.use_spatial_tiling else None
    frames = (tiling.temporal_tile_size or ae.default_tile_frames) if tiling.use_temporal_tiling else None
    return pixels, frames


def _spatial_tile(ae: Autoencoder, tiling: Tiling | None, height: int, width: int) -> tuple[int, int]:
    """Side and overlap of a tile in latents."""
    stride = ae.spatial_stride
    pixels = tile_sizes(ae, tiling)[0] if tiling else None
    if pixels is None:
        return -(-max(height, width) // stride), 0
    if pixels % stride:
        legal = " or ".join(str(n * stride) for n in (pixels // stride, pixels // stride + 1) if n)
        raise ConfigError(f"`spatial_tile_size`: {pixels} is no multiple of {stride} ({ae.name}); use {legal}")
    return pixels // stride, _overlap(pixels // stride, tiling)


def _temporal_tile(ae: Autoencoder, tiling: Tiling | None, latents: int) -> tuple[int, int]:
    """Length and overlap of a tile in latents. A causal tile overlaps at least by the latent that is its context."""
    context = int(ae.causal)
    frames = tile_sizes(ae, tiling)[1] if tiling else None
    if frames is None:
        return latents, context
    tile = ae.latent_frames(frames)
    if ae.frames_of(tile) != frames or tile <= context:
        legal = " or ".join(str(ae.frames_of(n)) for n in (tile - 1, tile, tile + 1) if n > context)
        raise ConfigError(f"`temporal_tile_size`: {ae.name} cannot take tiles of {frames} frames; use {legal}")
    return tile, max(context, _overlap(tile, tiling))


def _overlap(tile: int, tiling: Tiling) -> int:
    return int(tile * tiling.tile_overlap_factor + 1e-9)
