"""Tiles of a clip one after another: any function, clips of any length, on one rank or shared by several.

Ranks that share a clip (`workbench.ranks.lockstep`) take one tile each, in the order of the plan, and blend the results
in that order: the sums are those of one rank, bit by bit, where the function gives the same tile the same values on
every rank (on CPUs with the same number of threads each).
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice

import torch
from torch import Tensor

from workbench.ranks import Lockstep
from workbench.stages import Apply
from workbench.steps import Progress, Steps
from workbench.tiling import Blend, TilePlan, finished_frames, read_tile, tile_indices

TileIndex = tuple[int, int, int]


def count_pieces(stage: str, total: int) -> Iterator[Progress]:
    """Progress after every next piece of so many."""
    return (Progress(stage, done, total) for done in count(1))


def collect(pieces: Iterator[Tensor | Progress], frames: int, device: torch.device) -> Steps[Tensor]:
    """All `frames` frames of a stream of chunks (B, C, n, H, W), as float32 on a device."""
    whole: Tensor | None = None
    done = 0
    for piece in pieces:
        if isinstance(piece, Progress):
            yield piece
            continue
        if whole is None:
            whole = torch.empty(*piece.shape[:2], frames, *piece.shape[3:], device=device)
        whole[:, :, done : done + piece.shape[2]] = piece
        done += piece.shape[2]
    assert whole is not None, "a stream without chunks"
    return whole


def stream_tiles(
    plan: TilePlan,
    chunks: Iterator[Tensor | Progress],
    apply: Apply,
    progress: Iterator[Progress],
    device: torch.device,
    ranks: Lockstep | None = None,
    to_all: bool = True,
) -> Iterator[Tensor | Progress]:
    """Apply a function tile by tile to a clip that arrives in chunks (B, C, n, H, W) along time.

    Yields output chunks, on `device`, as soon as no later tile changes them, and the next `progress` after every tile;
    progress among the chunks is passed on. Holds the input that one tile of every rank reads and one span in time of
    output.

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
            yield next(progress)
            if done % plan.spatial_tiles == 0:
                yield blend.take(finished[indices[0]])


def _apply(apply: Apply, window: "FrameWindow", plan: TilePlan, tile: TileIndex) -> Tensor:
    assert window.frames is not None, "the window was not moved to the tile"
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


def _tile(x: Tensor, plan: TilePlan, indices: TileIndex, first_frame: int = 0) -> Tensor:
    t, h, w = indices
    return read_tile(x, plan.time.spans[t], plan.height.spans[h], plan.width.spans[w], first_frame)
