"""A model in stages, as a scheduler sees it: what is local is streamed, what is global is tiled. Knows no model.

A local stage is made of convolutions and of functions of single positions. It is computed once and exactly: frames are
pushed into it, and every convolution keeps the few frames that it needs again. A global stage, in which each output
depends on everything, is cut into overlapping tiles that are blended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from workbench.steps import Progress
from workbench.tiling import AxisPlan, Span, TilePlan, pad_end

Apply = Callable[[Tensor], Tensor]
"""A function of (B, C, T, H, W) to that layout."""

Push = Callable[[Tensor, bool], Iterator[Tensor]]
"""Takes the next frames of a clip, and whether they are its last; gives the output frames that are finished by then."""

FramesOf = Callable[[int], int]
"""The number of frames at one end of a stage that stand for n latents in time."""


@dataclass(frozen=True)
class LocalStage:
    """A part of an encoder or decoder that is streamed in time, whole frames at once.

    Attributes:
        stream: makes a push function that never works on more than so many frames at once.
        frames_of: frames of its input.
        unit: what it takes is a multiple of so many frames, or a whole image.
        cell: samples of a side that a cell of its coarsest grid has in its input and in its output.
        reach: how many cells to each side a cell depends on; None where it depends on all of the frame.
        is_exact: whether it is the stage itself; otherwise its attention sums over windows.
    """

    name: str
    stream: Callable[[int], Push]
    frames_of: FramesOf
    unit: int = 1
    cell: tuple[int, int] = (1, 1)
    reach: int | None = None
    is_exact: bool = True


@dataclass(frozen=True)
class Window:
    """How far attention reaches: so many latents in time, and tiles of a frame, in latents, that overlap."""

    frames: int
    side: int
    overlap: int


@dataclass(frozen=True)
class GlobalStage:
    """A part of an encoder or decoder that is cut into tiles of whole latents.

    Its other end are the latents themselves: it is the last stage of an encoder, or the first of a decoder.

    Attributes:
        run: the stage on a tile.
        frames_of, side: frames, and samples of a side, per latent at its finer end: the encoder's input, the decoder's
            output.
        context: leading latents of later tiles that only give context, see `plan_encode_time`.
        windowed: makes it a local stage, where it can be one: its attention then sums over windows.
    """

    name: str
    run: Apply
    frames_of: FramesOf
    side: int
    context: int = 0
    windowed: Callable[[Window], LocalStage] | None = None


Stage = LocalStage | GlobalStage


@dataclass(frozen=True)
class StreamPlan:
    """How a local stage is streamed.

    Attributes:
        size: (T, H, W) of its input.
        push: frames of its input that it takes at once: latents where a decoder begins with it.
        strips: its rows, each strip read with the rows around it that it depends on; None for all rows at once.
    """

    stage: LocalStage
    size: tuple[int, int, int]
    push: int
    strips: AxisPlan | None = None

    @property
    def pieces(self) -> int:
        return -(-self.size[0] // self.push)

    @property
    def input_volume(self) -> int:
        """Input samples that it reads, those of overlapping strips more than once."""
        frames, height, width = self.size
        return frames * width * (sum(s.stop - s.start for s in self.strips.spans) if self.strips else height)


@dataclass(frozen=True)
class TiledPlan:
    """How a global stage is tiled.

    Attributes:
        size: (T, H, W) of its input.
    """

    stage: GlobalStage
    size: tuple[int, int, int]
    tiles: TilePlan

    @property
    def pieces(self) -> int:
        return len(self.tiles)

    @property
    def input_volume(self) -> int:
        """Input samples that all tiles read together."""
        return self.tiles.input_volume


@dataclass(frozen=True)
class CodingPlan:
    """All stages of an encoder or decoder in order, for a clip of one size.

    Attributes:
        given, output: (T, H, W) of what comes in and of what goes out.
        legal: what the input is padded to, by repeating its last frame, row and column.
    """

    stages: tuple[StreamPlan | TiledPlan, ...]
    given: tuple[int, int, int]
    legal: tuple[int, int, int]
    output: tuple[int, int, int]

    @property
    def pieces(self) -> int:
        """Tiles and pushes in all."""
        return sum(plan.pieces for plan in self.stages)

    @property
    def is_exact(self) -> bool:
        """Whether the result is that of the whole clip at once, but for rounding: no tiles, no windows of attention."""
        return all(
            plan.stage.is_exact if isinstance(plan, StreamPlan) else len(plan.tiles) == 1 for plan in self.stages
        )

    @property
    def read_ratio(self) -> float:
        """Input samples that the first stage reads over those of the clip: padding and overlaps."""
        return self.stages[0].input_volume / prod(self.given)


def strips_of(stage: LocalStage, rows: int, count: int) -> AxisPlan:
    """At most `count` strips of nearly equal height over `rows` rows of input; what they read of each other is cropped.

    Their outputs lie side by side, so every weight is one.
    """
    assert stage.reach is not None, f"{stage.name} depends on whole frames"
    (cell_in, cell_out), cells = stage.cell, rows // stage.cell[0]
    count = min(count, cells)
    edges = [round(index * cells / count) for index in range(count + 1)]
    spans = []
    for first, last in pairwise(edges):
        start, stop = max(first - stage.reach, 0), min(last + stage.reach, cells)
        spans.append(
            Span(start * cell_in, stop * cell_in, (first - start) * cell_out, first * cell_out, last * cell_out)
        )
    return AxisPlan(tuple(spans), cells * cell_out)


def padded(chunks: Iterator[Tensor | Progress], plan: CodingPlan) -> Iterator[Tensor | Progress]:
    """Chunks (B, C, n, H, W) of a clip of the plan's given size, grown to its legal size; progress is passed on."""
    seen, missing = 0, plan.legal[0] - plan.given[0]
    for chunk in chunks:
        if not isinstance(chunk, Progress):
            seen += chunk.shape[2]
            frames = chunk.shape[2] + (missing if seen == plan.given[0] else 0)
            chunk = pad_end(chunk, frames, *plan.legal[1:])
        yield chunk


def cropped(chunks: Iterator[Tensor | Progress], plan: CodingPlan) -> Iterator[Tensor | Progress]:
    """Chunks of the plan's output without what padding added; progress is passed on."""
    left, height, width = plan.output
    for chunk in chunks:
        if isinstance(chunk, Progress):
            yield chunk
        elif left:
            chunk = chunk[:, :, :left, :height, :width]
            left -= chunk.shape[2]
            yield chunk


def in_pieces(chunks: Iterator[Tensor | Progress], plan: StreamPlan) -> Iterator[tuple[Tensor, bool] | Progress]:
    """A clip in pieces of the plan's push, each with whether it is the last; progress is passed on."""
    held, count, seen = [], 0, 0
    for chunk in chunks:
        if isinstance(chunk, Progress):
            yield chunk
            continue
        held.append(chunk)
        count, seen = count + chunk.shape[2], seen + chunk.shape[2]
        ended = seen == plan.size[0]
        while count >= plan.push or (count and ended):
            x = torch.cat(held, dim=2) if len(held) > 1 else held[0]
            piece, rest = x[:, :, : plan.push], x[:, :, plan.push :]
            held, count = [rest], rest.shape[2]
            yield piece, ended and not count
