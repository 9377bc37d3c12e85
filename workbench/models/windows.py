"""Linear attention of the Video DC-AE streamed in time, its sums taken over windows as large as in training.

Each position attends to as much as in training, and the layers around see their true neighbours: no tile has a border.
In time the window of a latent is centred on it, and moved inside at the ends of the clip. In a frame the windows are
the overlapping tiles of a plan, and results are blended by its weights.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.models.dc_blocks import ATTENTION_EPS
from workbench.models.streams import Waiting
from workbench.stages import Window
from workbench.tiling import plan_decode_side


class WindowedAttention:
    """The stream of `linear_attention`: queries, keys and values (B, heads * 3 * head_size, n, H, W) to results.

    Equal to it on the whole clip where the clip is no larger than the window.

    Args:
        scale: frames, and positions of a side, per latent.
    """

    def __init__(self, head_size: int, scale: tuple[int, int], window: Window) -> None:
        self._head_size, self._scale, self._window = head_size, scale, window
        self._waiting = Waiting()
        self._spans: list[list[slice]] = []  # of the tiles of a frame: rows, columns
        self._weights = torch.empty(0)  # of all tiles, (rows, columns, 1, 1, h, w)
        self._sums: dict[int, Tensor] = {}  # by latent in time: values times keys of every tile of a frame
        self._queries: dict[int, Tensor] = {}
        self._read = self._done = 0  # latents in time

    def __call__(self, qkv: Tensor, is_last: bool) -> Tensor | None:
        self._waiting.add(qkv)
        if not self._spans:
            self._plan(qkv)
        while self._waiting.count >= self._scale[0] or (is_last and self._waiting.count):
            self._add(self._waiting.take(min(self._scale[0], self._waiting.count)))
        finished = []
        while self._done < self._read and (is_last or self._start(self._done) + self._window.frames <= self._read):
            finished.append(self._attend(self._done))
            self._done += 1
        return torch.cat(finished, dim=2).to(qkv.dtype) if finished else None

    def _start(self, latent: int) -> int:
        """Where the window of a latent begins, as long as the clip goes on."""
        return max(latent - self._window.frames // 2, 0)

    def _plan(self, qkv: Tensor) -> None:
        """Cut a frame into tiles."""
        axes = [
            plan_decode_side(side, self._scale[1], self._window.side, self._window.overlap) for side in qkv.shape[3:]
        ]
        self._spans = [[slice(span.out_start, span.out_stop) for span in axis.spans] for axis in axes]
        rows, columns = (torch.stack(axis.weights) for axis in axes)
        self._weights = (rows[:, None, None, None, :, None] * columns[:, None, None, None]).to(qkv.device)

    def _add(self, qkv: Tensor) -> None:
        """Take the frames of one latent."""
        grouped = qkv.float() if qkv.dtype == torch.float16 else qkv
        q, k, v = grouped.unflatten(1, (-1, 3 * self._head_size)).split(self._head_size, dim=2)
        k, v = k.relu(), F.pad(v, (0, 0) * 3 + (0, 1), value=1.0)  # the row of ones sums what each query pays
        self._sums[self._read] = _wide(self._tiled(v) @ self._tiled(k).transpose(-1, -2))
        self._queries[self._read] = q.relu()
        self._read += 1

    def _attend(self, latent: int) -> Tensor:
        """What the frames of a latent get, (B, heads * head_size, n, H, W) of at least float32."""
        start = max(min(self._start(latent), self._read - self._window.frames), 0)
        window = range(start, min(start + self._window.frames, self._read))
        q = self._queries.pop(latent)
        sums = reduce(torch.add, (self._sums[index] for index in window)).to(q.dtype)
        out = _wide(sums @ self._tiled(q)).unflatten(5, (q.shape[3], *self._weights.shape[4:]))
        out = (out[:, :, :, :, :-1] / (out[:, :, :, :, -1:] + ATTENTION_EPS)).mul_(self._weights)
        self._sums = {index: sums for index, sums in self._sums.items() if index >= start}  # no later latent needs more
        return self._blended(out, q.shape[4:]).flatten(1, 2)

    def _tiled(self, x: Tensor) -> Tensor:
        """The tiles of frames (B, heads, d, n, H, W), all of one size: (B, heads, rows, columns, d, n * h * w)."""
        rows, columns = self._spans
        x = torch.stack([x[..., span, :] for span in rows], dim=2)
        return torch.stack([x[..., span] for span in columns], dim=3).flatten(5)

    def _blended(self, tiles: Tensor, size: torch.Size) -> Tensor:
        """The frames that weighted tiles (B, heads, rows, columns, d, n, h, w) add up to: first rows of them, then all.

        That takes as many additions as there are rows and columns, not tiles.
        """
        rows, columns = self._spans
        strips = tiles.new_zeros(*tiles.shape[:3], *tiles.shape[4:7], size[1])
        for tile, span in zip(tiles.unbind(3), columns, strict=True):
            strips[..., span].add_(tile)
        frames = tiles.new_zeros(*tiles.shape[:2], *tiles.shape[4:6], *size)
        for strip, span in zip(strips.unbind(2), rows, strict=True):
            frames[..., span, :].add_(strip)
        return frames


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
