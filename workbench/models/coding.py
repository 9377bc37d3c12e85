"""Encoding and decoding of clips of any length: any autoencoder, its stages one after another, in constant memory.

Stages work side by side: what one has finished goes on to the next, so that no stage's output is ever held whole.
`*_pieces` take and give a clip in chunks, `*_steps` and `*_tiled` a clip in memory.

Ranks that share a clip take strips of a frame in local stages, each read with the rows around it that it depends on,
and tiles in global ones. What is streamed in windows has no strips: every rank then computes all of it.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import DeviceMemoryError, ShapeError
from workbench.finite import refuse_nonfinite
from workbench.media.video import to_float
from workbench.memory import is_out_of_memory
from workbench.models.auto import choose
from workbench.models.base import Autoencoder
from workbench.models.plans import Size, decode_plan, encode_plan
from workbench.models.tiled import collect, count_pieces, stream_tiles
from workbench.ranks import Lockstep
from workbench.stages import Apply, CodingPlan, Push, StreamPlan, cropped, in_pieces, padded
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import OWN_TILING, Tiling
from workbench.tiling import AxisPlan, Span

Timer = Callable[[Callable[[], Any]], Any]
"""Runs a piece of work of the model, and returns its result."""


def encode_tiled(ae: Autoencoder, x: Tensor, tiling: Tiling = OWN_TILING, ranks: Lockstep | None = None) -> Tensor:
    """Frames (B, 3, T, H, W), floats in [-1, 1] or uint8, to float32 latents (B, C, t, h, w) on the device of x.

    Args:
        tiling: by default as suits the model; `ONE_PIECE` takes all at once.
        ranks: share the work over these; every rank calls it with the same x and gets all latents.
    """
    return drain(encode_steps(ae, x, tiling, ranks))


def decode_tiled(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling = OWN_TILING,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    ranks: Lockstep | None = None,
) -> Tensor:
    """Latents (B, C, t, h, w) to float32 frames (B, 3, num_frames, *size) on the device of z, not clamped.

    Args:
        tiling: by default as suits the model; `ONE_PIECE` takes all at once.
        num_frames, size: those of the encoded clip, size as (height, width), as in `Autoencoder.decode`.
        ranks: share the work over these; every rank calls it with the same z and gets all frames.
    """
    return drain(decode_steps(ae, z, tiling, num_frames, size, ranks))


def encode_steps(ae: Autoencoder, x: Tensor, tiling: Tiling, ranks: Lockstep | None = None) -> Steps[Tensor]:
    """`encode_tiled` as a generator of progress."""
    if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
        raise ShapeError(f"frames must be (B, 3, T, H, W), got {tuple(x.shape)}")
    size = x.shape[2], x.shape[3], x.shape[4]
    pieces = encode_pieces(ae, iter([x]), size, tiling, ranks)
    return (yield from collect(pieces, ae.latent_frames(size[0]), x.device))


def decode_steps(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    ranks: Lockstep | None = None,
) -> Steps[Tensor]:
    """`decode_tiled` as a generator of progress."""
    shape = ae.decoded_shape(z, num_frames, size)
    return (yield from collect(decode_pieces(ae, iter([z]), shape, tiling, ranks), shape[0], z.device))


def run_at_once(work: Callable[[], Any]) -> Any:
    """The timer that does not measure."""
    return work()


def encode_pieces(
    ae: Autoencoder,
    chunks: Iterator[Tensor | Progress],
    size: Size,
    tiling: Tiling,
    ranks: Lockstep | None = None,
    timer: Timer = run_at_once,
    sample_posterior: bool = False,
) -> Generator[Tensor | Progress, None, None]:
    """A clip of this size in chunks (B, 3, n, H, W), floats in [-1, 1] or uint8, to float32 latents in chunks.

    Yields progress after every tile and push; progress among the chunks is passed on. Output is on the model's device.

    Args:
        ranks: share the work over these, each of which iterates over the same chunks and gets all latents.
        sample_posterior: as in `Autoencoder.encode`, for every tile.

    Raises:
        ConfigError: as `encode_plan`.
        DeviceMemoryError: the memory does not suffice.
    """
    count = ranks.world.size if ranks else 1
    plan = encode_plan(ae, size, next(choose(ae, size, tiling, count)).tiling, count, sample_posterior)
    return _run(ae, plan, chunks, "encode", timer, ranks, to_all=True)


def decode_pieces(
    ae: Autoencoder,
    chunks: Iterator[Tensor | Progress],
    size: Size,
    tiling: Tiling,
    ranks: Lockstep | None = None,
    timer: Timer = run_at_once,
    to_all: bool = True,
) -> Generator[Tensor | Progress, None, None]:
    """Latents in chunks (B, C, n, h, w) to the float32 frames of a clip of this size in chunks, not clamped.

    Args:
        to_all: whether all ranks get the frames, or rank 0 alone.

    The rest is as in `encode_pieces`.
    """
    count = ranks.world.size if ranks else 1
    plan = decode_plan(ae, size, next(choose(ae, size, tiling, count)).tiling, count)
    return _run(ae, plan, chunks, "decode", timer, ranks, to_all)


def _run(
    ae: Autoencoder,
    plan: CodingPlan,
    chunks: Iterator[Tensor | Progress],
    direction: str,
    timer: Timer,
    ranks: Lockstep | None,
    to_all: bool,
) -> Generator[Tensor | Progress, None, None]:
    """All stages of a plan, each fed by the one before; the pieces that its last stage finishes, as float32."""
    progress = count_pieces(direction, plan.pieces)
    work = _Work(ae, "latents" if direction == "encode" else "frames", timer)
    chunks = padded(chunks, plan)
    for stage in plan.stages:
        all_get_it = to_all or stage is not plan.stages[-1]
        if isinstance(stage, StreamPlan):
            chunks = _stream(stage, chunks, work, progress, ranks, all_get_it)
        else:
            apply = work.of(stage.stage.run)
            chunks = stream_tiles(stage.tiles, chunks, apply, progress, ae.device, ranks, all_get_it)
    for chunk in cropped(chunks, plan):
        yield chunk if isinstance(chunk, Progress) else chunk.float()


def _stream(
    plan: StreamPlan,
    chunks: Iterator[Tensor | Progress],
    work: "_Work",
    progress: Iterator[Progress],
    ranks: Lockstep | None,
    to_all: bool,
) -> Iterator[Tensor | Progress]:
    """A local stage, push by push."""
    with torch.no_grad():
        push = plan.stage.stream(plan.push)
    share = (ranks, plan.strips) if ranks and plan.strips else None
    strip = _own_strip(*share) if share else None
    for item in in_pieces(chunks, plan):
        if isinstance(item, Progress):
            yield item
            continue
        x, is_last = item
        rows = x if strip is None else x[:, :, :, strip.start : strip.stop]
        told: Progress | None = next(progress)
        for y in work.pushed(push, rows, is_last):
            whole = _joined(y, *share, to_all) if share else y
            if told:  # before its output goes on, which is work of others
                yield told
                told = None
            if whole is not None and (to_all or ranks is None or ranks.world.is_main):
                yield whole
        if told:
            yield told


def _own_strip(ranks: Lockstep, strips: AxisPlan) -> Span:
    """The rows that this rank takes; ranks left over repeat the last strip, so that all make the same calls."""
    return strips.spans[min(ranks.world.rank, len(strips.spans) - 1)]


def _joined(y: Tensor, ranks: Lockstep, strips: AxisPlan, to_all: bool) -> Tensor | None:
    """The strips of all ranks under each other; None where this rank gets nothing."""
    spans, mine = strips.spans, _own_strip(ranks, strips)
    heights = [span.out_stop - span.out_start for span in spans]
    rows = y[:, :, :, mine.skip : mine.skip + mine.out_stop - mine.out_start].float()
    parts = ranks.gather(F.pad(rows, (0, 0, 0, max(heights) - rows.shape[3])), to_all)
    kept = [part[:, :, :, :height] for part, height in zip(parts, heights, strict=False)]
    return torch.cat(kept, dim=3) if kept else None


class _Work:
    """What a model does: in its type, on its device, without gradients, timed, and with finite results."""

    def __init__(self, ae: Autoencoder, result: str, timer: Timer) -> None:
        self._ae, self._result, self._timer = ae, result, timer

    def of(self, apply: Apply) -> Apply:
        """The function on one tile."""
        return lambda tile: self._checked(self._do(lambda: apply(self._input(tile)), tile), tile)

    def pushed(self, push: Push, x: Tensor, is_last: bool) -> Iterator[Tensor]:
        """The frames that a push finishes."""
        pieces = self._do(lambda: push(self._input(x), is_last), x)
        while (piece := self._do(lambda: next(pieces, None), x)) is not None:
            yield self._checked(piece, x)

    def _input(self, x: Tensor) -> Tensor:
        x = x.to(self._ae.device)
        return (to_float(x) if x.dtype == torch.uint8 else x).to(self._ae.dtype)

    def _checked(self, result: Tensor, given: Tensor) -> Tensor:
        return refuse_nonfinite(result, given, self._ae.name, self._ae.dtype, self._result)

    def _do(self, work: Callable[[], Any], x: Tensor) -> Any:
        try:
            with torch.no_grad():
                return self._timer(work)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = "x".join(map(str, x.shape[2:]))
        if self._ae.device.type == "cuda":
            torch.cuda.empty_cache()
        raise DeviceMemoryError(
            f"out of memory on a piece of {size}; use `tiling_mode` auto, smaller tiles (`spatial_tile_size`, "
            "`temporal_tile_size`), `push_frames` 1 or `device` cpu"
        )
