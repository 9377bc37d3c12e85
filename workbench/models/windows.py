"""Linear attention of the Video DC-AE streamed in time, its sums taken over windows as large as in training.

Each position attends to as much as in training, and the layers around see their true neighbours: no tile has a border.
In time the window of a latent is centred on it, and moved inside at the ends of the clip. In a frame the windows are
the overlapping tiles of a plan, and results are blended by its weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.models.dc_blocks import ATTENTION_EPS
from workbench.models.streams import Waiting
from workbench.stages import Window
from workbench.tiling import AxisPlan, plan_decode_side


class WindowedAttention:
    """The stream of `linear_attention`: queries, keys and values (B, heads * 3 * head_size, n, H, W) to results.

    Equal to it on the whole clip where the clip is no larger than the window.

    Args:
        scale: frames, and positions of a side, per latent.
    """

    def __init__(self, head_size: int, scale: tuple[int, int], window: Window) -> None:
        self._head_size, self._scale, self._window = head_size, scale, window
        self._waiting = Waiting()
        self._tiles: list[tuple[slice, slice, Tensor]] = []  # of a frame: rows, columns and weights (h, w)
        self._sums: dict[int, list[Tensor]] = {}  # by latent in time: of every tile of a frame, values times keys
        self._queries: dict[int, Tensor] = {}
        self._read = self._done = 0  # latents in time

    def __call__(self, qkv: Tensor, is_last: bool) -> Tensor | None:
        self._waiting.add(qkv)
        self._tiles = self._tiles or self._tiles_of(qkv.shape[3], qkv.shape[4], qkv.device)
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

    def _tiles_of(self, height: int, width: int, device: torch.device) -> list[tuple[slice, slice, Tensor]]:
        rows, columns = (
            plan_decode_side(side, self._scale[1], self._window.side, self._window.overlap) for side in (height, width)
        )
        return [
            (h, w, (wh[:, None] * ww).to(device))
            for h, wh in zip(_slices(rows), rows.weights, strict=True)
            for w, ww in zip(_slices(columns), columns.weights, strict=True)
        ]

    def _add(self, qkv: Tensor) -> None:
        """Take the frames of one latent."""
        grouped = qkv.float() if qkv.dtype == torch.float16 else qkv
        q, k, v = grouped.unflatten(1, (-1, 3 * self._head_size)).split(self._head_size, dim=2)
        k, v = k.relu(), F.pad(v, (0, 0) * 3 + (0, 1), value=1.0)  # the row of ones sums what each query pays
        sums = (v[..., h, w].flatten(3) @ k[..., h, w].flatten(3).transpose(-1, -2) for h, w, _ in self._tiles)
        self._sums[self._read] = [_wide(part) for part in sums]
        self._queries[self._read] = q.relu()
        self._read += 1

    def _attend(self, latent: int) -> Tensor:
        """What the frames of a latent get, (B, heads * head_size, n, H, W) of at least float32."""
        start = max(min(self._start(latent), self._read - self._window.frames), 0)
        window = range(start, min(start + self._window.frames, self._read))
        q = self._queries.pop(latent)
        total = torch.zeros_like(_wide(q))
        for number, (h, w, weight) in enumerate(self._tiles):
            sums = torch.stack([self._sums[index][number] for index in window]).sum(0).to(q.dtype)
            out = _wide(sums @ q[..., h, w].flatten(3)).unflatten(3, q[..., h, w].shape[3:])
            total[..., h, w] += out[:, :, :-1] / (out[:, :, -1:] + ATTENTION_EPS) * weight
        self._sums = {index: sums for index, sums in self._sums.items() if index >= start}  # no later latent needs more
        return total.flatten(1, 2)


def _slices(axis: AxisPlan) -> list[slice]:
    return [slice(span.out_start, span.out_stop) for span in axis.spans]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
