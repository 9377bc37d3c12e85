"""A clip in, its reconstruction and what was lost out: in memory, or file to file in constant memory."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from workbench.compare.side_by_side import side_by_side
from workbench.data.source import ClipPolicy, ClipSource, open_clip
from workbench.errors import MediaError
from workbench.media import Video, VideoWriter, quoted, to_uint8, write_image
from workbench.metrics import ClipMetrics
from workbench.models.base import Autoencoder
from workbench.models.tiled import (
    Apply,
    Progress,
    Steps,
    decode_plan,
    decode_steps,
    decoder,
    drain,
    encode_plan,
    encode_steps,
    encoder,
    stream_tiles,
)
from workbench.tiling import Tiling


@dataclass(frozen=True)
class Reconstruction:
    """A clip and what an autoencoder made of it.

    Attributes:
        original, output: the clip before and after, 8 bits per value, of the same size.
        latents: float32 (1, C, t, h, w) on the CPU.
        metrics: per frame, by name (see `workbench.metrics`), computed on the 8-bit frames.
        encode_s, decode_s: seconds spent in the model.
    """

    original: Video
    output: Video
    latents: Tensor
    metrics: dict[str, list[float]]
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class FileReport:
    """What `reconstruct_file` did: sizes, per-frame metrics, seconds in the model, and warnings about the input."""

    source: Path
    model: str
    num_frames: int
    height: int
    width: int
    fps: float
    latent_shape: tuple[int, int, int, int]
    metrics: dict[str, list[float]]
    encode_s: float
    decode_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Outputs:
    """Where `reconstruct_file` writes; paths left out are not written. The extension chooses the format:
    .mp4 plays in browsers, .mkv is lossless, .png is for photos."""

    reconstruction: Path | None = None
    original: Path | None = None
    side_by_side: Path | None = None


@dataclass
class _Clock:
    """Seconds spent inside the model, by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: {"encode": 0.0, "decode": 0.0})

    def timed(self, stage: str, apply: Apply) -> Apply:
        def run(tile: Tensor) -> Tensor:
            begin = time.perf_counter()
            result = apply(tile).cpu()
            self.seconds[stage] += time.perf_counter() - begin
            return result

        return run


def reconstruct(ae: Autoencoder, video: Video, tiling: Tiling | None = None, lpips: bool = False) -> Reconstruction:
    """Encode and decode a clip in memory, tile by tile if a tiling is given, and measure every frame.

    Raises:
        ConfigError: a tile size is not legal for the model.
        WeightsError: LPIPS is asked for and its backbone is missing.
    """
    return drain(reconstruct_steps(ae, video, tiling, lpips))


def reconstruct_steps(
    ae: Autoencoder, video: Video, tiling: Tiling | None = None, lpips: bool = False
) -> Steps[Reconstruction]:
    """`reconstruct` as a generator that yields a Progress after every tile."""
    metrics = ClipMetrics(lpips, ae.device)
    x = video.frames.transpose(0, 1)[None]
    begin = time.perf_counter()
    z = yield from encode_steps(ae, x, tiling)
    encoded = time.perf_counter()
    y = yield from decode_steps(ae, z, tiling, video.num_frames, (video.height, video.width))
    decoded = time.perf_counter()
    output = Video.from_tensor(y, video.fps, timestamps_s=video.timestamps_s)
    metrics.add(video.frames, output.frames)
    return Reconstruction(video, output, z, metrics.values, encoded - begin, decoded - encoded)


def reconstruct_file(
    ae: Autoencoder,
    source: str | Path,
    output: str | Path | Outputs,
    tiling: Tiling | None = None,
    policy: ClipPolicy | None = None,
    lpips: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Reconstruct a file into a file in constant memory, for any length, measuring every frame on the way.

    The result equals `reconstruct` on the same frames. Files appear under their names only when complete.

    Args:
        output: the file to write (.mp4, lossless .mkv, .png for photos), or `Outputs` for more than one.
        policy: which frames to take and at what size; by default all, as they are.

    Raises:
        MediaError: the input cannot be read or the output cannot be written.
        ConfigError: a tile size is not legal for the model.
    """
    outputs = output if isinstance(output, Outputs) else Outputs(Path(output))
    return drain(reconstruct_file_steps(ae, source, outputs, tiling, policy, lpips), on_progress)


def reconstruct_file_steps(
    ae: Autoencoder,
    source: str | Path,
    outputs: Outputs,
    tiling: Tiling | None = None,
    policy: ClipPolicy | None = None,
    lpips: bool = False,
) -> Steps[FileReport]:
    """`reconstruct_file` as a generator that yields a Progress after every tile; closing it removes partial files."""
    metrics = ClipMetrics(lpips, ae.device)
    clip = open_clip(source, policy or ClipPolicy(), ae.spatial_stride)
    clock, done = _Clock(), 0
    with ExitStack() as stack:
        write = _writers(stack, outputs, clip)
        pieces = stack.enter_context(closing(_stream(ae, clip, tiling, clock)))
        for piece in pieces:
            if isinstance(piece, Progress):
                yield piece
                continue
            original, output = piece
            metrics.add(original, output)
            write(original, output)
            done += original.shape[0]
        if done != clip.num_frames:
            raise MediaError(f"{quoted(source)}: {clip.num_frames} frames were counted but {done} read; it is changing")
    shape = ae.latent_shape(clip.num_frames, clip.height, clip.width)
    size = (clip.num_frames, clip.height, clip.width, clip.fps)
    seconds = clock.seconds["encode"], clock.seconds["decode"]
    return FileReport(Path(source), ae.name, *size, shape, metrics.values, *seconds, clip.warnings)


def _stream(
    ae: Autoencoder, clip: ClipSource, tiling: Tiling | None, clock: _Clock
) -> Iterator[Progress | tuple[Tensor, Tensor]]:
    """Pairs of original and reconstructed frames, uint8 (n, 3, H, W), with progress in between."""
    shape = clip.num_frames, clip.height, clip.width
    waiting: deque[Tensor] = deque()
    encode = clock.timed("encode", encoder(ae))
    decode = clock.timed("decode", decoder(ae, clip.num_frames == 1))
    with closing(_remembered(clip, waiting)) as frames:
        latents = stream_tiles(encode_plan(ae, *shape, tiling), frames, encode, "encode")
        for item in stream_tiles(decode_plan(ae, *shape, tiling), latents, decode, "decode"):
            if isinstance(item, Progress):
                yield item
            else:
                output = to_uint8(item[0].transpose(0, 1))
                yield _take(waiting, output.shape[0]), output


def _remembered(clip: ClipSource, waiting: deque[Tensor]) -> Iterator[Tensor]:
    """The clip's chunks as (1, 3, n, H, W); each is also kept until its reconstruction is there."""
    with closing(clip.chunks()) as chunks:
        for chunk in chunks:
            waiting.append(chunk)
            yield chunk.transpose(0, 1)[None]


def _take(waiting: deque[Tensor], count: int) -> Tensor:
    """The first `count` frames that wait, removed from the queue."""
    taken: list[Tensor] = []
    while count and waiting:
        chunk = waiting.popleft()
        taken.append(chunk[:count])
        if chunk.shape[0] > count:
            waiting.appendleft(chunk[count:])
        count -= taken[-1].shape[0]
    return torch.cat(taken)


def _writers(stack: ExitStack, outputs: Outputs, clip: ClipSource) -> Callable[[Tensor, Tensor], None]:
    """A function that writes a piece of original and output to every file asked for."""

    def enter(path: Path | None) -> Callable[[Tensor, Sequence[float] | None], None] | None:
        if path is None:
            return None
        if clip.info.is_image:
            return lambda frames, times: write_image(frames[0], path)
        return stack.enter_context(VideoWriter(path, clip.fps, lossless=path.suffix.lower() == ".mkv")).write

    write_original, write_output, write_both = map(
        enter, (outputs.original, outputs.reconstruction, outputs.side_by_side)
    )

    written = 0

    def write(original: Tensor, output: Tensor) -> None:
        nonlocal written
        times = clip.timestamps_s and clip.timestamps_s[written : written + len(original)]
        written += len(original)
        if write_original:
            write_original(original, times)
        if write_output:
            write_output(output, times)
        if write_both:
            write_both(side_by_side({"original": original, "reconstruction": output}), times)

    return write
