"""Layers streamed in time: each convolution keeps the last frames of its input, and nothing is computed twice.

A stream takes the next frames (B, C, n, H, W) of a clip and whether they are its last, and gives the output frames that
it can finish, or None. The result over all pushes is that of the layer on the whole clip: the zero frames before and
after a clip belong to the input of every layer, not to the clip.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from workbench.stages import Apply, Push

Stream = Callable[[Tensor, bool], Tensor | None]


def each(function: Apply) -> Stream:
    """The stream of a function of single frames."""
    return lambda x, is_last: function(x)


def same(x: Tensor) -> Tensor:
    """x itself, beside which a stream is late."""
    return x


def over_frames(function: Apply) -> Apply:
    """A function of images (n, C, H, W), which may change their number, as one of clips (B, C, T, H, W)."""
    return lambda x: function(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], -1)).transpose(1, 2)


def sequence(*streams: Stream) -> Stream:
    """Streams one after another, all output of one going to the next at once."""

    def push(x: Tensor, is_last: bool) -> Tensor | None:
        for stream in streams:
            y = stream(x, is_last)
            if y is None:
                return None
            x = y
        return x

    return push


def whole_images(function: Apply, stream: Stream) -> Stream:
    """The stream, but the function where the whole clip is a single frame: some layers treat that as an image."""
    begun = False

    def push(x: Tensor, is_last: bool) -> Tensor | None:
        nonlocal begun
        is_image, begun = is_last and not begun and x.shape[2] == 1, True
        return function(x) if is_image else stream(x, is_last)

    return push


def compact(x: Tensor) -> Tensor:
    """x, copied where it is half or less of a larger tensor that it would keep alive."""
    return x.clone() if 2 * x.nbytes <= x.untyped_storage().nbytes() else x


class Waiting:
    """Frames (B, C, n, H, W) that wait, first in, first out."""

    def __init__(self) -> None:
        self._parts: deque[Tensor] = deque()
        self.count = 0

    def add(self, x: Tensor) -> None:
        self._parts.append(x)
        self.count += x.shape[2]

    def take(self, count: int) -> Tensor:
        """The first `count` frames, which are there."""
        taken = []
        self.count -= count
        while count:
            part = self._parts.popleft()
            if part.shape[2] > count:
                self._parts.appendleft(compact(part[:, :, count:]))
            taken.append(part[:, :, :count])
            count -= taken[-1].shape[2]
        return torch.cat(taken, dim=2) if len(taken) > 1 else taken[0]


class ConvStream:
    """A convolution over time that pads with zeros, one frame late per frame of padding.

    Args:
        valid: the convolution without padding in time.
        kernel: its size in time, odd; it pads half of that.
        repeats: it pads with the first and the last frame instead.
    """

    def __init__(self, valid: Apply, kernel: int = 3, stride: int = 1, repeats: bool = False) -> None:
        self._valid, self._kernel, self._stride, self._repeats = valid, kernel, stride, repeats
        self._tail: list[Tensor] | None = None

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        parts = _bordered(self._tail, x, is_last, self._kernel // 2, self._repeats)
        frames = _count(parts)
        count = max(0, (frames - self._kernel) // self._stride + 1)
        self._tail = [] if is_last else last_frames(parts, frames - count * self._stride)
        return self._valid(torch.cat(parts, dim=2)) if count else None


class ChunkConvStream:
    """A convolution that begins anew after every `chunk` frames, as `Conv3d` has it: at their end it is not late.

    Args:
        valid: the convolution without padding in time.
        kernel: its size in time, odd; it pads half of that.
    """

    def __init__(self, valid: Apply, kernel: int, chunk: int) -> None:
        self._valid, self._past, self._chunk = valid, kernel // 2, chunk
        self._tail: list[Tensor] | None = None
        self._seen = 0

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        outputs = []
        while x.shape[2]:
            room = self._chunk - self._seen % self._chunk
            piece, x = x[:, :, :room], x[:, :, room:]
            self._seen += piece.shape[2]
            y = self._push(piece, self._seen % self._chunk == 0 or (is_last and not x.shape[2]))
            outputs += [] if y is None else [y]
        if is_last:
            self._tail = None
        return torch.cat(outputs, dim=2) if outputs else None

    def _push(self, x: Tensor, ends: bool) -> Tensor | None:
        parts = _bordered(self._tail, x, ends, self._past)
        count = _count(parts) - 2 * self._past
        kept = parts[: len(parts) - self._past] if ends else parts
        self._tail = last_frames(kept, self._past if ends else 2 * self._past)
        return self._valid(torch.cat(parts, dim=2)) if count > 0 else None


class ResidualStream:
    """A convolution and what follows it, beside the identity: both need the same frames again, which are kept once.

    Args:
        valid: the convolution without padding in time.
        rest: late by as many frames as the convolution.
        combine: of the frames of both ways, those of `rest` first.
        kernel: the convolution's size in time, odd; it pads half of that.
    """

    def __init__(self, valid: Apply, rest: Stream, combine: Callable[[Tensor, Tensor], Tensor], kernel: int) -> None:
        self._valid, self._rest, self._combine, self._past = valid, rest, combine, kernel // 2
        self._held: list[Tensor] | None = None
        self._zeros = self._past  # before the first frame: of those held, only the convolution needs these

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        parts = _bordered(self._held, x, is_last, self._past)
        count = max(_count(parts) - 2 * self._past, 0)
        y = self._rest(self._valid(torch.cat(parts, dim=2)), is_last) if count else None
        shortcut = None if y is None else _taken(parts, self._zeros, y.shape[2])
        self._held = [] if is_last else last_frames(parts, 2 * self._past)
        self._zeros = max(self._zeros - count, 0)
        return None if y is None or shortcut is None else self._combine(y, shortcut)


def _bordered(held: list[Tensor] | None, x: Tensor, ends: bool, past: int, repeats: bool = False) -> list[Tensor]:
    """What is held, then x, with `past` frames before a clip's first and after its last: zeros, or these again."""
    before = [_border(x[:, :, :1], repeats)] * past if held is None else held
    return [*before, x, *([_border(x[:, :, -1:], repeats)] * past if ends else [])]


def _border(frame: Tensor, repeats: bool) -> Tensor:
    return frame if repeats else torch.zeros_like(frame)


def _count(parts: Sequence[Tensor]) -> int:
    return sum(part.shape[2] for part in parts)


def _taken(parts: Sequence[Tensor], start: int, count: int) -> Tensor:
    """So many frames of all parts one after another, from this one on."""
    taken = []
    for part in parts:
        frames = part[:, :, start:][:, :, :count]
        taken += [frames] if frames.shape[2] else []
        start, count = max(start - part.shape[2], 0), count - frames.shape[2]
    return torch.cat(taken, dim=2) if len(taken) > 1 else taken[0]


class Groups:
    """Frames passed on in multiples of `count`; a clip is one."""

    def __init__(self, count: int) -> None:
        self._count, self._waiting = count, Waiting()

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        self._waiting.add(x)
        ready = self._waiting.count // self._count * self._count
        return self._waiting.take(ready) if ready else None


def last_frames(parts: Sequence[Tensor], count: int) -> list[Tensor]:
    """The last `count` frames of these, in parts; whole parts are not copied, as others may hold them too."""
    kept: list[Tensor] = []
    for part in reversed(parts):
        if count <= 0:
            break
        kept.insert(0, compact(part[:, :, -count:]))
        count -= part.shape[2]
    return kept


class Beside:
    """A stream beside a function of the same frames, of which the stream is late.

    Args:
        combine: of the frames of both, those of the stream first.
        group: the function takes a multiple of so many frames.
    """

    def __init__(
        self, main: Stream, function: Apply, combine: Callable[[Tensor, Tensor], Tensor], group: int = 1
    ) -> None:
        self._main, self._function, self._combine, self._group = main, function, combine, group
        self._inputs, self._outputs = Waiting(), Waiting()

    def __call__(self, x: Tensor, is_last: bool) -> Tensor | None:
        self._inputs.add(x)
        if ready := self._inputs.count // self._group * self._group:
            self._outputs.add(self._function(self._inputs.take(ready)))
        y = self._main(x, is_last)
        return None if y is None else self._combine(y, self._outputs.take(y.shape[2]))


def chain(streams: Sequence[Stream], size: int) -> Push:
    """Streams one after another, each on at most `size` frames at once.

    What a layer finishes goes through all later ones before the next piece of it does. At the end of a clip every layer
    gives all that it was late at once: going on with that in one piece would take several times the memory.
    """

    def push(x: Tensor, is_last: bool) -> Iterator[Tensor]:
        yield from run([x], is_last, 0)

    def run(held: list[Tensor], is_last: bool, depth: int) -> Iterator[Tensor]:
        """What the layers from `depth` on make of the one tensor that is held, which is taken out of its list."""
        pieces = list(held.pop().split(size, dim=2))  # popped: no layer's input outlives its use
        while pieces:
            ends = is_last and len(pieces) == 1
            output = [y for y in [streams[depth](pieces.pop(0), ends)] if y is not None]
            if output and depth + 1 < len(streams):
                yield from run(output, ends, depth + 1)
            elif output:
                yield output.pop()

    return push
