"""Layers of TAEHV, and their streams: of frames one by one, of neighbours, and of whole groups."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.clip_grid import ClipGrid
from workbench.models.streams import Groups, Stream, Waiting, each, over_frames, sequence


class Bounded(nn.Module):
    """Latents softly bounded to (-3, 3)."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


class Memory(nn.Module):
    """A residual block of a frame and the one before it, zeros before the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.conv = nn.Sequential(conv(2 * width, width), relu, conv(width, width), relu, conv(width, width))

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Frames and those before them, both (n, C, H, W)."""
        return F.relu(self.conv(torch.cat([x, before], dim=1)) + x)


class SuperMemory(nn.Module):
    """As `Memory`: a depthwise convolution over both frames, then a wide layer of single positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 7, padding=3, groups=2 * width, bias=False),
            nn.Conv2d(2 * width, 4 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, width, 1, bias=False),
        )

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Frames and those before them, both (n, C, H, W)."""
        return self.conv(torch.cat([x, before], dim=1)) + x


class Pool(nn.Module):
    """So many frames (n * times, C, H, W) to one each."""

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(times * width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.reshape(-1, self.times * x.shape[1], *x.shape[2:]))


class Grow(nn.Module):
    """A frame to so many, (n * times, C, H, W)."""

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, times * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).reshape(-1, *x.shape[1:])


def conv(width: int, out: int, **settings: Any) -> nn.Conv2d:
    """A convolution of 3 x 3 with zeros around."""
    return nn.Conv2d(width, out, 3, padding=1, **settings)


class Remembering:
    """The stream of a memory block."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._last: Tensor | None = None

    def __call__(self, x: Tensor, is_last: bool) -> Tensor:
        first = torch.zeros_like(x[:, :, :1]) if self._last is None else self._last
        before, self._last = torch.cat([first, x[:, :, :-1]], dim=2), x[:, :, -1:].clone()
        frames = over_frames(lambda both: self._block(*both.chunk(2, dim=1)))
        return frames(torch.cat([x, before], dim=1))


class Padded:
    """A clip with so many more frames, the last of it repeated."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, x: Tensor, is_last: bool) -> Tensor:
        return torch.cat([x, x[:, :, -1:].expand(-1, -1, self._count, -1, -1)], dim=2) if is_last else x


class Without:
    """A clip without its first frames, or without those of every `period` frames."""

    def __init__(self, count: int, period: int | None) -> None:
        self._count, self._period, self._seen = count, period, 0

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        places = range(self._seen, self._seen + x.shape[2])
        self._seen = places.stop
        kept = [i for i, at in enumerate(places) if (at % self._period if self._period else at) >= self._count]
        return x[:, :, kept] if kept else None


class InClips:
    """Clips of MiniMax-H3, each led by dark frames and encoded by itself; the last latents are left out.

    Args:
        encoder: makes the stream of the encoder anew.
    """

    def __init__(self, grid: ClipGrid, encoder: Callable[[], Stream]) -> None:
        self._grid, self._encoder, self._frames, self._latents = grid, encoder, Waiting(), Waiting()
        self._is_first = True

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        is_image, self._is_first = is_last and self._is_first and x.shape[2] == 1, False
        self._frames.add(x)
        while self._frames.count >= self._grid.frames or (is_last and self._frames.count):
            clip = self._frames.take(min(self._frames.count, self._grid.frames))
            self._latents.add(self._encoded(clip, 1 if is_image else self._grid.frames))
        ready = self._latents.count - (0 if is_image else self._grid.dropped)
        return self._latents.take(ready) if ready > 0 else None

    def _encoded(self, clip: Tensor, frames: int) -> Tensor:
        whole = Padded(frames - clip.shape[2])(clip, True)
        dark = torch.full_like(clip[:, :, :1], -1.0).expand(-1, -1, self._grid.stride - 1, -1, -1)
        latents = self._encoder()(torch.cat([dark, whole], dim=2), True)
        assert latents is not None, "a clip without latents"
        return latents


def stream_of(layer: nn.Module) -> Stream:
    """The stream of a layer over clips (B, C, T, H, W)."""
    if isinstance(layer, Memory | SuperMemory):
        return Remembering(layer)
    frames = each(over_frames(layer))
    return sequence(Groups(layer.times), frames) if isinstance(layer, Pool) else frames
