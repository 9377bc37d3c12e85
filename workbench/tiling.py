"""Tile plans as pure data, and blending tiles by weights that sum to one. Knows no model.

Tiles of an axis all have full size, are spread evenly and the last ends exactly at the edge, so there are no slivers.
A plan is made on the grid of the latents, where a tile of k latents overlaps its neighbour by at least
floor(k * tile_overlap_factor); it never has more tiles than ceil((L - overlap) / (tile - overlap)).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

import torch
from torch import Tensor

from workbench.errors import ShapeError


@dataclass(frozen=True)
class Span:
    """One tile on one axis: read input [start, stop), drop the first `skip` outputs, keep output [out_start, out_stop).

    `stop` may lie past the end of the input: the last sample is then repeated, as it is for the whole clip.
    """

    start: int
    stop: int
    skip: int
    out_start: int
    out_stop: int


@dataclass(frozen=True)
class AxisPlan:
    """The tiles of one axis, in order, and the length of that axis of the output."""

    spans: tuple[Span, ...]
    out_length: int

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """Blending weights of each span (float32, 1-D): linear ramps over the overlaps, summing to one everywhere."""
        raw = [self._ramps(index) for index in range(len(self.spans))]
        total = torch.zeros(self.out_length, dtype=torch.float64)
        for span, weight in zip(self.spans, raw, strict=True):
            total[span.out_start : span.out_stop] += weight
        return tuple(
            (weight / total[span.out_start : span.out_stop]).float()
            for span, weight in zip(self.spans, raw, strict=True)
        )

    def _ramps(self, index: int) -> Tensor:
        span = self.spans[index]
        position = torch.arange(span.out_stop - span.out_start, dtype=torch.float64) + 0.5
        weight = torch.ones_like(position)
        if index > 0:
            weight = weight.minimum(position / max(self.spans[index - 1].out_stop - span.out_start, 1))
        if index + 1 < len(self.spans):
            weight = weight.minimum(position.flip(0) / max(span.out_stop - self.spans[index + 1].out_start, 1))
        return weight


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a clip: every combination of a span in time, in height and in width."""

    time: AxisPlan
    height: AxisPlan
    width: AxisPlan

    def __len__(self) -> int:
        return len(self.time.spans) * self.spatial_tiles

    @property
    def spatial_tiles(self) -> int:
        """The number of tiles of one frame."""
        return len(self.height.spans) * len(self.width.spans)

    @property
    def input_volume(self) -> int:
        """Input samples that all tiles read together: the cost of the plan, to compare with T * H * W of the clip."""
        volume = 1
        for axis in (self.time, self.height, self.width):
            volume *= sum(span.stop - span.start for span in axis.spans)
        return volume

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """What each tile reads in time, height and width: all have one size."""
        time, height, width = (
            axis.spans[0].stop - axis.spans[0].start for axis in (self.time, self.height, self.width)
        )
        return time, height, width


def spread(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of the fewest full-size tiles, evenly spread over `length`, that overlap by at least `overlap`."""
    if tile >= length:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def whole_axis(in_length: int, out_length: int) -> AxisPlan:
    """An axis that is not cut."""
    return AxisPlan((Span(0, in_length, 0, 0, out_length),), out_length)


def plan_encode_side(pixels: int, stride: int, tile: int, overlap: int) -> AxisPlan:
    """Spans of a side from pixels to latents of `stride` pixels; `tile` and `overlap` count latents."""
    latents = -(-pixels // stride)
    tile = min(tile, latents)
    starts = spread(latents, tile, overlap)
    return AxisPlan(tuple(Span(a * stride, (a + tile) * stride, 0, a, a + tile) for a in starts), latents)


def plan_decode_side(pixels: int, stride: int, tile: int, overlap: int) -> AxisPlan:
    """Spans of a side from latents back to exactly `pixels` pixels; `tile` and `overlap` count latents."""
    latents = -(-pixels // stride)
    tile = min(tile, latents)
    starts = spread(latents, tile, overlap)
    return AxisPlan(tuple(Span(a, a + tile, 0, a * stride, min((a + tile) * stride, pixels)) for a in starts), pixels)


def plan_encode_time(
    latents: int, tile: int, overlap: int, frames_of: Callable[[int], int], context: int = 0
) -> AxisPlan:
    """Spans in time from frames to latents.

    Args:
        latents: latents of the clip.
        tile, overlap: in latents.
        frames_of: the number of frames that the first n latents of a clip hold.
        context: leading latents of every later tile that only give context and are dropped (1 for causal models,
            whose first latent holds a single frame).
    """
    tile = min(tile, latents)
    spans = []
    for a in spread(latents, tile, overlap):
        stop = frames_of(a + tile)
        skip = context if a else 0
        spans.append(Span(stop - frames_of(tile), stop, skip, a + skip, a + tile))
    return AxisPlan(tuple(spans), latents)


def plan_decode_time(
    num_frames: int, latents: int, tile: int, overlap: int, frames_of: Callable[[int], int], context: int = 0
) -> AxisPlan:
    """Spans in time from latents back to exactly `num_frames` frames; arguments as in `plan_encode_time`."""
    tile = min(tile, latents)
    spans = []
    for a in spread(latents, tile, overlap):
        first = frames_of(a + context) if a else 0
        skip = frames_of(tile) - (frames_of(a + tile) - first)
        spans.append(Span(a, a + tile, skip, first, min(frames_of(a + tile), num_frames)))
    return AxisPlan(tuple(spans), num_frames)


def pad_end(x: Tensor, frames: int, height: int, width: int) -> Tensor:
    """x (B, C, T, H, W) grown to these sizes by repeating its last frame, row and column."""
    for dim, size in ((2, frames), (3, height), (4, width)):
        if missing := size - x.shape[dim]:
            last = x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([x, last.expand(*(missing if d == dim else -1 for d in range(5)))], dim)
    return x


def read_tile(x: Tensor, t: Span, h: Span, w: Span, first_frame: int = 0) -> Tensor:
    """The tile of x (B, C, T, H, W) that these spans read; x begins with frame `first_frame` of the clip."""
    tile = x[:, :, t.start - first_frame : t.stop - first_frame, h.start : h.stop, w.start : w.stop]
    return pad_end(tile, t.stop - t.start, h.stop - h.start, w.stop - w.start)


class Blend:
    """The float32 sum of weighted tiles, over all frames of the output or over a window that moves with `take`.

    Args:
        plan: the plan whose tiles are added, one span in time after the other.
        streaming: hold only the frames of the current span in time; otherwise the whole output, in `total`.
    """

    def __init__(self, plan: TilePlan, streaming: bool = False) -> None:
        self.plan = plan
        self.start = 0
        longest = max(span.out_stop - span.out_start for span in plan.time.spans)
        self._frames = longest if streaming else plan.time.out_length
        self.total: Tensor | None = None

    def add(self, t_index: int, h_index: int, w_index: int, tile: Tensor, device: torch.device) -> None:
        """Add the output (B, C, t, h, w) of one tile with its weights; the sum lives on `device`."""
        indices = (t_index, h_index, w_index)
        axes = (self.plan.time, self.plan.height, self.plan.width)
        spans = [axis.spans[index] for axis, index in zip(axes, indices, strict=True)]
        t, h, w = spans
        inside_t, inside_h, inside_w = (slice(s.skip, s.skip + s.out_stop - s.out_start) for s in spans)
        kept = tile[:, :, inside_t, inside_h, inside_w]
        expected = tuple(s.out_stop - s.out_start for s in spans)
        if kept.shape[2:] != expected:  # would be broadcast, and blended, in silence
            raise ShapeError(f"a tile of {tuple(tile.shape[2:])} (t, h, w) came back where {expected} is needed")
        if self.total is None:
            sides = self.plan.height.out_length, self.plan.width.out_length
            self.total = torch.zeros((*tile.shape[:2], self._frames, *sides), device=device)
        window = slice(t.out_start - self.start, t.out_stop - self.start)
        target = self.total[:, :, window, h.out_start : h.out_stop, w.out_start : w.out_stop]
        wt, wh, ww = (axis.weights[index] for axis, index in zip(axes, indices, strict=True))
        weight = (wt[:, None, None] * (wh[:, None] * ww)).to(device, non_blocking=True)
        target.addcmul_(kept.to(device, torch.float32), weight)

    def take(self, until: int) -> Tensor:
        """The finished frames [start, until) of the output; the window moves on to `until`."""
        count, total = until - self.start, self.total
        assert total is not None, "frames are taken before any tile was added"
        finished = total[:, :, :count].clone()
        for frame in range(count, self._frames):  # frame by frame: no second copy of the window
            total[:, :, frame - count] = total[:, :, frame]
        total[:, :, max(self._frames - count, 0) :] = 0
        self.start = until
        return finished


def finished_frames(time: AxisPlan) -> list[int]:
    """For each span in time, the number of output frames that no later span changes."""
    return [later.out_start for _, later in pairwise(time.spans)] + [time.out_length]


def tile_indices(plan: TilePlan) -> Iterator[tuple[int, int, int]]:
    """Indices (time, height, width) of all tiles of a plan, time slowest."""
    return product(range(len(plan.time.spans)), range(len(plan.height.spans)), range(len(plan.width.spans)))
