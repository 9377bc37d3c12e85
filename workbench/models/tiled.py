"""Encoding and decoding tile by tile: any autoencoder, clips of any length and size.

The `*_steps` functions are generators that yield a `Progress` after every tile and return the result, so that a
caller can show progress, or stop within one tile by not going on.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from workbench.errors import ConfigError, WorkbenchError
from workbench.media import to_float
from workbench.models.base import Autoencoder
from workbench.tiling import (
    Blend,
    TilePlan,
    Tiling,
    finished_frames,
    plan_decode_side,
    plan_decode_time,
    plan_encode_side,
    plan_encode_time,
    read_tile,
    tile_indices,
    whole_axis,
)

T = TypeVar("T")
Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` tiles of one stage, "encode" or "decode"."""

    stage: str
    done: int
    total: int


Steps = Generator[Progress, None, T]


def encode_plan(ae: Autoencoder, num_frames: int, height: int, width: int, tiling: Tiling | None) -> TilePlan:
    """The tiles that encode a clip of this size; without a tiling, one tile.

    Raises:
        ConfigError: a tile size is not legal for the model; the nearest legal ones are named.
    """
    tile, overlap = _spatial_tile(ae, tiling, height, width)
    sides = [plan_encode_side(side, ae.spatial_stride, tile, overlap) for side in (height, width)]
    if num_frames == 1:
        return TilePlan(whole_axis(1, 1), *sides)
    latents = ae.latent_frames(num_frames)
    tile, overlap = _temporal_tile(ae, tiling, latents)
    return TilePlan(plan_encode_time(latents, tile, overlap, ae.frames_of, int(ae.causal)), *sides)


def decode_plan(ae: Autoencoder, num_frames: int, height: int, width: int, tiling: Tiling | None) -> TilePlan:
    """The tiles that decode the latents of a clip of this size; without a tiling, one tile."""
    tile, overlap = _spatial_tile(ae, tiling, height, width)
    sides = [plan_decode_side(side, ae.spatial_stride, tile, overlap) for side in (height, width)]
    if num_frames == 1:
        return TilePlan(whole_axis(1, 1), *sides)
    latents = ae.latent_frames(num_frames)
    tile, overlap = _temporal_tile(ae, tiling, latents)
    return TilePlan(plan_decode_time(num_frames, latents, tile, overlap, ae.frames_of, int(ae.causal)), *sides)


def encode_tiled(ae: Autoencoder, x: Tensor, tiling: Tiling | None = None) -> Tensor:
    """Frames (B, 3, T, H, W), floats in [-1, 1] or uint8, to float32 latents (B, C, t, h, w) on the device of x."""
    return drain(encode_steps(ae, x, tiling))


def decode_tiled(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling | None = None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Latents (B, C, t, h, w) to float32 frames (B, 3, num_frames, *size) on the device of z, not clamped.

    `num_frames` and `size` (height, width) are those of the encoded clip, as in `Autoencoder.decode`.
    """
    return drain(decode_steps(ae, z, tiling, num_frames, size))


def encode_steps(ae: Autoencoder, x: Tensor, tiling: Tiling | None) -> Steps[Tensor]:
    """`encode_tiled` as a generator of progress."""
    plan = encode_plan(ae, *x.shape[2:], tiling)
    return (yield from _run(plan, x, encoder(ae), "encode"))


def decode_steps(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling | None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Steps[Tensor]:
    """`decode_tiled` as a generator of progress."""
    num_frames, height, width = ae.decoded_shape(z, num_frames, size)
    plan = decode_plan(ae, num_frames, height, width, tiling)
    return (yield from _run(plan, z, decoder(ae, is_image=num_frames == 1), "decode"))


def stream_tiles(
    plan: TilePlan, chunks: Iterator[Tensor | Progress], apply: Apply, stage: str
) -> Iterator[Tensor | Progress]:
    """Apply a function tile by tile to a clip that arrives in chunks (B, C, n, H, W) along time.

    Yields output chunks as soon as no later tile changes them, and `Progress` after every tile; progress that arrives
    among the chunks is passed on. Holds one span in time of input and output. Equal to the same plan on the whole clip.
    """
    blend, held, first, done = Blend(plan, streaming=True), None, 0, 0
    for t_index, (span, finished) in enumerate(zip(plan.time.spans, finished_frames(plan.time), strict=True)):
        held, first = (held if held is None else held[:, :, span.start - first :]), span.start
        parts = [] if held is None else [held]
        while sum(part.shape[2] for part in parts) < span.stop - span.start:
            item = next(chunks, None)
            if item is None:
                break
            if isinstance(item, Progress):
                yield item
            else:
                parts.append(item)
        held = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
        for indices in _spatial_indices(plan, t_index):
            blend.add(*indices, apply(_tile(held, plan, indices, first)), held.device)
            done += 1
            yield Progress(stage, done, len(plan))
        yield blend.take(finished)


def drain(steps: Steps[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run a generator of progress to its end and return its result."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            return stop.value
        if on_progress:
            on_progress(progress)


def encoder(ae: Autoencoder) -> Apply:
    """The function that encodes one tile of frames, floats or uint8."""

    @torch.no_grad()
    def encode(tile: Tensor) -> Tensor:
        tile = tile.to(ae.device)
        return ae.encode(to_float(tile) if tile.dtype == torch.uint8 else tile)

    return _suggest_smaller_tiles(encode)


def decoder(ae: Autoencoder, is_image: bool) -> Apply:
    """The function that decodes one tile of latents to all frames that it holds."""

    @torch.no_grad()
    def decode(tile: Tensor) -> Tensor:
        return ae.decode(tile, num_frames=1 if is_image else ae.frames_of(tile.shape[2]))

    return _suggest_smaller_tiles(decode)


def _run(plan: TilePlan, x: Tensor, apply: Apply, stage: str) -> Steps[Tensor]:
    blend = Blend(plan)
    for done, indices in enumerate(tile_indices(plan), 1):
        blend.add(*indices, apply(_tile(x, plan, indices)), x.device)
        yield Progress(stage, done, len(plan))
    return blend.total


def _tile(x: Tensor, plan: TilePlan, indices: tuple[int, int, int], first_frame: int = 0) -> Tensor:
    t, h, w = indices
    return read_tile(x, plan.time.spans[t], plan.height.spans[h], plan.width.spans[w], first_frame)


def _spatial_indices(plan: TilePlan, t_index: int) -> Iterator[tuple[int, int, int]]:
    return (indices for indices in tile_indices(plan) if indices[0] == t_index)


def _spatial_tile(ae: Autoencoder, tiling: Tiling | None, height: int, width: int) -> tuple[int, int]:
    """Side and overlap of a tile in latents."""
    stride = ae.spatial_stride
    if tiling is None or not tiling.use_spatial_tiling:
        return -(-max(height, width) // stride), 0
    pixels = tiling.spatial_tile_size or ae.default_tile_pixels
    if pixels % stride:
        legal = " or ".join(str(n * stride) for n in (pixels // stride, pixels // stride + 1) if n)
        raise ConfigError(f"--model.spatial_tile_size: {pixels} is no multiple of {stride} ({ae.name}); use {legal}")
    return pixels // stride, _overlap(pixels // stride, tiling)


def _temporal_tile(ae: Autoencoder, tiling: Tiling | None, latents: int) -> tuple[int, int]:
    """Length and overlap of a tile in latents."""
    context = int(ae.causal)
    if tiling is None or not tiling.use_temporal_tiling:
        return latents, context
    frames = tiling.temporal_tile_size or ae.default_tile_frames
    tile = ae.latent_frames(frames)
    if ae.frames_of(tile) != frames or tile <= context:
        above = max(tile, context + 1)
        legal = f"{ae.frames_of(above - 1)} or {ae.frames_of(above)}" if above - 1 > context else ae.frames_of(above)
        raise ConfigError(f"--model.temporal_tile_size: {ae.name} cannot take tiles of {frames} frames; use {legal}")
    return tile, max(context, _overlap(tile, tiling))


def _overlap(tile: int, tiling: Tiling) -> int:
    return int(tile * tiling.tile_overlap_factor + 1e-9)


def _suggest_smaller_tiles(apply: Apply) -> Apply:
    def guarded(tile: Tensor) -> Tensor:
        try:
            return apply(tile)
        except torch.OutOfMemoryError:
            size = "x".join(map(str, tile.shape[2:]))
        torch.cuda.empty_cache()
        raise WorkbenchError(
            f"out of GPU memory on a tile of {size}; use smaller tiles (--model.spatial_tile_size, "
            "--model.temporal_tile_size), --dtype bfloat16 or --device cpu"
        )

    return guarded
