"""Encoding and decoding tile by tile: any autoencoder, clips of any length.

The `*_steps` functions yield a `Progress` after every tile (see `workbench.steps`).
"""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from workbench.errors import ShapeError, WorkbenchError
from workbench.media import to_float
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.steps import Progress, Steps, drain
from workbench.tiling import Blend, TilePlan, Tiling, finished_frames, read_tile, tile_indices

Apply = Callable[[Tensor], Tensor]


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
    if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
        raise ShapeError(f"frames must be (B, 3, T, H, W), got {tuple(x.shape)}")
    plan, _ = tile_plans(ae, *x.shape[2:], tiling)
    return (yield from run_tiles(plan, x, encoder(ae), "encode"))


def decode_steps(
    ae: Autoencoder,
    z: Tensor,
    tiling: Tiling | None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Steps[Tensor]:
    """`decode_tiled` as a generator of progress."""
    num_frames, height, width = ae.decoded_shape(z, num_frames, size)
    _, plan = tile_plans(ae, num_frames, height, width, tiling)
    return (yield from run_tiles(plan, z, decoder(ae, is_image=num_frames == 1), "decode"))


def run_tiles(plan: TilePlan, x: Tensor, apply: Apply, stage: str) -> Steps[Tensor]:
    """Apply a function to every tile of x (B, C, T, H, W) and blend the results, on the device of x."""
    blend = Blend(plan)
    for done, indices in enumerate(tile_indices(plan), 1):
        blend.add(*indices, apply(_tile(x, plan, indices)), x.device)
        yield Progress(stage, done, len(plan))
    return blend.total


def stream_tiles(
    plan: TilePlan, chunks: Iterator[Tensor | Progress], apply: Apply, stage: str, device: torch.device
) -> Iterator[Tensor | Progress]:
    """Apply a function tile by tile to a clip that arrives in chunks (B, C, n, H, W) along time.

    Yields output chunks, on `device`, as soon as no later tile changes them, and `Progress` after every tile; progress
    among the chunks is passed on. Holds one span in time of input and output. Equal to `run_tiles` on the whole clip.
    """
    blend, window, done = Blend(plan, streaming=True), FrameWindow(chunks), 0
    for t_index, (span, finished) in enumerate(zip(plan.time.spans, finished_frames(plan.time), strict=True)):
        yield from window.move_to(span.start, span.stop)
        for h_index, w_index in product(range(len(plan.height.spans)), range(len(plan.width.spans))):
            indices = (t_index, h_index, w_index)
            blend.add(*indices, apply(_tile(window.frames, plan, indices, window.start)), device)
            done += 1
            yield Progress(stage, done, len(plan))
        yield blend.take(finished)


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

    return _suggest_smaller_tiles(encode)


def decoder(ae: Autoencoder, is_image: bool) -> Apply:
    """The function that decodes one tile of latents to all frames that it holds."""

    @torch.no_grad()
    def decode(tile: Tensor) -> Tensor:
        return ae.decode(tile, num_frames=1 if is_image else ae.frames_of(tile.shape[2]))

    return _suggest_smaller_tiles(decode)


def _tile(x: Tensor, plan: TilePlan, indices: tuple[int, int, int], first_frame: int = 0) -> Tensor:
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
            f"out of GPU memory on a tile of {size}; use smaller tiles (--model.spatial_tile_size, "
            "--model.temporal_tile_size), --dtype bfloat16 or --device cpu"
        )

    return guarded
