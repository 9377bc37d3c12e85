"""Encoding and decoding tile by tile: any autoencoder, clips of any length, on one rank or shared by several.

The `*_steps` functions yield a `Progress` after every tile (see `workbench.steps`).

Ranks that share a clip (`workbench.ranks.lockstep`) take one tile each, in the order of the plan, and blend the results
in that order: the sums are those of one rank, bit by bit, where the model gives the same tile the same values on every
rank (on CPUs with the same number of threads each).
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from workbench.errors import ShapeError, WorkbenchError
from workbench.finite import refuse_nonfinite
from workbench.media.video import to_float
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.ranks import Lockstep
from workbench.steps import Progress, Steps, drain
from workbench.tiling import Blend, TilePlan, Tiling, finished_frames, read_tile, tile_indices

Apply = Callable[[Tensor], Tensor]
TileIndex = tuple[int, int, int]


def encode_tiled(ae: Autoencoder, x: Tensor, tiling: Tiling | None = None, ranks: Lockstep | None = None) -> Tensor:
    """Frames (B, 3, T, H, W), floats in [-1, 1] or uint8, to float32 latents (B, C, t, h, w) on the device of x.

    Args:
        ranks: share the tiles over these; every rank calls it with the same x and gets all latents.
    """
    return drain(encode_steps(ae, x, tiling, ranks))


def decode_tiled(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling | None = None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    ranks: Lockstep | None = None,
) -> Tensor:
    """Latents (B, C, t, h, w) to float32 frames (B, 3, num_frames, *size) on the device of z, not clamped.

    Args:
        num_frames, size: those of the encoded clip, size as (height, width), as in `Autoencoder.decode`.
        ranks: share the tiles over these; every rank calls it with the same z and gets all frames.
    """
    return drain(decode_steps(ae, z, tiling, num_frames, size, ranks))


def encode_steps(ae: Autoencoder, x: Tensor, tiling: Tiling | None, ranks: Lockstep | None = None) -> Steps[Tensor]:
    """`encode_tiled` as a generator of progress."""
    if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
        raise ShapeError(f"frames must be (B, 3, T, H, W), got {tuple(x.shape)}")
    plan, _ = tile_plans(ae, *x.shape[2:], tiling)
    return (yield from run_tiles(plan, x, encoder(ae), "encode", ranks))


def decode_steps(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling | None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    ranks: Lockstep | None = None,
) -> Steps[Tensor]:
    """`decode_tiled` as a generator of progress."""
    num_frames, height, width = ae.decoded_shape(z, num_frames, size)
    _, plan = tile_plans(ae, num_frames, height, width, tiling)
    return (yield from run_tiles(plan, z, decoder(ae, is_image=num_frames == 1), "decode", ranks))


def run_tiles(plan: TilePlan, x: Tensor, apply: Apply, stage: str, ranks: Lockstep | None = None) -> Steps[Tensor]:
    """Apply a function to every tile of x (B, C, T, H, W) and blend the results, on the device of x."""
    blend, done = Blend(plan), 0
    for tiles in _rounds(plan, ranks):
        for indices, result in _compute(tiles, lambda tile: apply(_tile(x, plan, tile)), ranks):
            blend.add(*indices, result, x.device)
            done += 1
            yield Progress(stage, done, len(plan))
    return blend.total


def stream_tiles(
    plan: TilePlan,
    chunks: Iterator[Tensor | Progress],
    apply: Apply,
    stage: str,
    device: torch.device,
    ranks: Lockstep | None = None,
    to_all: bool = True,
) -> Iterator[Tensor | Progress]:
    """Apply a function tile by tile to a clip that arrives in chunks (B, C, n, H, W) along time.

    Yields output chunks, on `device`, as soon as no later tile changes them, and `Progress` after every tile; progress
    among the chunks is passed on. Holds the input that one tile of every rank reads and one span in time of output.
    Equal to `run_tiles` on the whole clip.

    Args:
        ranks: share the tiles over these, each of which iterates over the same chunks.
        to_all: whether all ranks get the output, or rank 0 alone.
    """
    blend, window, finished, done = Blend(plan, streaming=True), FrameWindow(chunks), finished_frames(plan.time), 0
    for tiles in _rounds(plan, ranks):
        first, last = (plan.time.spans[t] for t, _, _ in (tiles[0], tiles[-1]))
        yield from window.move_to(first.start, last.stop)
        apply_to = partial(_apply, apply, window, plan)
        for indices, result in _compute(tiles, apply_to, ranks, to_all):
            blend.add(*indices, result, device)
            done += 1
            yield Progress(stage, done, len(plan))
            if done % plan.spatial_tiles == 0:
                yield blend.take(finished[indices[0]])


def _apply(apply: Apply, window: "FrameWindow", plan: TilePlan, tile: TileIndex) -> Tensor:
    return apply(_tile(window.frames, plan, tile, window.start))


def _rounds(plan: TilePlan, ranks: Lockstep | None) -> Iterator[list[TileIndex]]:
    """The tiles in order, as many at once as there are ranks."""
    tiles = tile_indices(plan)
    while together := list(islice(tiles, ranks.world.size if ranks else 1)):
        yield together


def _compute(
    tiles: list[TileIndex], compute: Callable[[TileIndex], Tensor], ranks: Lockstep | None, to_all: bool = True
) -> Iterator[tuple[TileIndex, Tensor]]:
    """The results of the tiles of one round, in order; without `to_all`, nothing on the ranks after the first.

    Ranks left over in the last round repeat its last tile, so that all make the same calls.
    """
    if ranks is None:
        yield tiles[0], compute(tiles[0])
        return
    mine = compute(tiles[min(ranks.world.rank, len(tiles) - 1)])
    yield from zip(tiles, ranks.gather(mine.float(), to_all), strict=False)


class FrameWindow:
    """The frames [start, stop) of a clip that arrives in chunks (B, C, n, H, W), moving forward.

    Attributes:
        frames: what is held, beginning with frame `start` of the clip.
    """

    def __init__(self, chunks: Iterator[Tensor | Progress]) -> None:
        self.frames: Tensor | None = None
        self.start = 0
        self._chunks = chunks

    def move_to(self, start: int, stop: int) -> Iterator[Progress]:
        """Forget frames before `start` and take chunks until frame `stop`, or the clip's end, is reached."""
        parts = [] if self.frames is None else [self.frames[:, :, start - self.start :]]
        self.start = start
        held = sum(part.shape[2] for part in parts)
        while held < stop - start and (item := next(self._chunks, None)) is not None:
            if isinstance(item, Progress):
                yield item
            else:
                parts.append(item)
                held += item.shape[2]
        self.frames = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


def encoder(ae: Autoencoder) -> Apply:
    """The function that encodes one tile of frames, floats or uint8."""

    @torch.no_grad()
    def encode(tile: Tensor) -> Tensor:
        tile = tile.to(ae.device)
        return ae.encode(to_float(tile) if tile.dtype == torch.uint8 else tile)

    return _suggest_smaller_tiles(refuse_nonfinite(encode, ae.name, ae.dtype, "latents"))


def decoder(ae: Autoencoder, is_image: bool) -> Apply:
    """The function that decodes one tile of latents to all frames that it holds."""

    @torch.no_grad()
    def decode(tile: Tensor) -> Tensor:
        return ae.decode(tile, num_frames=1 if is_image else ae.frames_of(tile.shape[2]))

    return _suggest_smaller_tiles(refuse_nonfinite(decode, ae.name, ae.dtype, "frames"))


def _tile(x: Tensor, plan: TilePlan, indices: TileIndex, first_frame: int = 0) -> Tensor:
    t, h, w = indices
    return read_tile(x, plan.time.spans[t], plan.height.spans[h], plan.width.spans[w], first_frame)


def _suggest_smaller_tiles(apply: Apply) -> Apply:
    """The same function, with an error that names a remedy where a tile does not fit into the GPU's memory."""

    def guarded(tile: Tensor) -> Tensor:
        try:
            return apply(tile)
        except torch.OutOfMemoryError:
            size = "x".join(map(str, tile.shape[2:]))
        torch.cuda.empty_cache()
        raise WorkbenchError(
            f"out of GPU memory on a tile of {size}; use smaller tiles (`spatial_tile_size`, "
            "`temporal_tile_size`) or `device` cpu"
        )

    return guarded
