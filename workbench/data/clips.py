"""Reading the frames of one training clip: only those that are needed, at the size that is needed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data.variation import varied
from workbench.errors import DataError, MediaError, WorkbenchError
from workbench.files import quoted
from workbench.media.resize import apply_resize
from workbench.media.resolution import cover
from workbench.media.stream import open_stream


@dataclass(frozen=True)
class ClipRequest:
    """Frames to take of a file, and the shape to bring them to.

    Attributes:
        path: a video or an image.
        start_frame, num_frames, interval: `num_frames` frames, one every `interval`, from `start_frame` on.
        height, width: of the result, in pixels.
        top, left: place of the crop as parts of the room there is, in [0, 1); None is the centre.
        variation: the seed of everything else by which the result varies, see `variation`; None leaves it as it is.
        is_photo: it is one frame that many are made of; that takes a variation.
    """

    path: str
    start_frame: int
    num_frames: int
    interval: int
    height: int
    width: int
    top: float | None = None
    left: float | None = None
    variation: int | None = None
    is_photo: bool = False

    @property
    def frames_read(self) -> int:
        """Frames that are taken of the file."""
        return 1 if self.is_photo else self.num_frames

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the frames that `read_clip` returns."""
        return self.num_frames, 3, self.height, self.width


def read_clip(request: ClipRequest) -> Tensor:
    """Decode, resize to cover and crop; one source frame is in memory at a time, but for clips that vary.

    Returns:
        uint8 (T, 3, H, W) of `request.shape`.

    Raises:
        MediaError: the file cannot be read, or does not have enough frames.
    """
    with open_stream(request.path, request.frames_read, request.start_frame, request.interval) as stream:
        if request.variation is not None:
            whole = list(stream)  # at the file's size: windows differ in theirs
            return varied_of(torch.stack(whole) if whole else torch.empty(0), request)
        frames, count = torch.empty(request.shape, dtype=torch.uint8), 0
        for count, frame in enumerate(stream, start=1):
            frames[count - 1] = crop_of(frame[None], request)[0]
    if count < request.num_frames:
        raise too_short(request, count)
    return frames


def varied_of(frames_TCHW: Tensor, request: ClipRequest) -> Tensor:
    """The variation of these frames that the request asks for, uint8 of its shape, on their device.

    Raises:
        MediaError: they are fewer than it takes.
    """
    if len(frames_TCHW) < request.frames_read:
        raise too_short(request, len(frames_TCHW))
    assert request.variation is not None
    return varied(frames_TCHW, request.num_frames, request.height, request.width, request.variation)


def crop_of(frames_TCHW: Tensor, request: ClipRequest) -> Tensor:
    """Frames of a file, uint8 on the CPU, at the request's size: by the size that they have, whatever the index says.

    Returns:
        uint8 (T, 3, request.height, request.width).
    """
    plan = cover(frames_TCHW.shape[2], frames_TCHW.shape[3], request.height, request.width)
    offset = _place(plan.height - plan.crop_height, request.top), _place(plan.width - plan.crop_width, request.left)
    return apply_resize(frames_TCHW, plan, offset)


def too_short(request: ClipRequest, count: int) -> MediaError:
    """The error of a file that had only so many of the frames."""
    return MediaError(
        f"{quoted(request.path)}: only {count} of {request.frames_read} frames could be read from frame "
        f"{request.start_frame} on"
    )


class ClipSlot:
    """One clip of a batch: what to read for it, and what has failed.

    Attributes:
        request: the candidate to read now.
        frames: the frames, once a candidate was read.
        failed: (path, reason) of the candidates before it.
    """

    def __init__(self, candidates: Iterator[ClipRequest], max_bad_in_a_row: int) -> None:
        self.frames: Tensor | None = None
        self.failed: list[tuple[str, str]] = []
        self._limit = max_bad_in_a_row
        self._candidates = itertools.islice(candidates, max_bad_in_a_row)
        self._crashed: ClipRequest | None = None
        self.request = next(self._candidates)

    @property
    def read_frames(self) -> Tensor:
        """The frames of a slot that was read."""
        assert self.frames is not None
        return self.frames

    def fail(self, reason: str) -> None:
        """Go on to the next candidate.

        Raises:
            DataError: there is none, or `max_bad_in_a_row` have failed.
        """
        self.failed.append((self.request.path, reason))
        following = next(self._candidates, None)
        if following is None:
            count, (_, first) = len(self.failed), self.failed[0]
            which = f"{count} clips in a row" if count == self._limit else f"all {count} clips that would fit"
            raise DataError(f"{which} could not be read, the limit is reached; the first: {first}")
        self.request = following

    def crash(self, reason: str) -> None:
        """The process that read the candidate died. Something else may have killed it: a candidate gets two attempts.

        Raises:
            DataError: as for `fail`.
        """
        if self._crashed is self.request:
            self.fail(reason)
        else:
            self._crashed = self.request

    def read(self, read: Callable[[ClipRequest], Tensor]) -> None:
        """Read the first candidate that can be read, in this process.

        Raises:
            DataError: as for `fail`.
        """
        while self.frames is None:
            try:
                self.frames = read(self.request)
            except (WorkbenchError, OSError, MemoryError) as error:
                self.fail(reason_of(error))


def reason_of(error: Exception) -> str:
    """One line on why a clip could not be read."""
    return " ".join(str(error).split()) or type(error).__name__


def _place(room: int, part: float | None) -> int:
    return room // 2 if part is None else int(part * (room + 1))
