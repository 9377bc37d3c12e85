"""A clip in, its reconstruction and what was lost out: in memory, or file to file in constant memory."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.compare.side_by_side import side_by_side
from workbench.data.source import ClipPolicy, ClipSource, open_clip_steps
from workbench.errors import MediaError
from workbench.media import Video, VideoWriter, quoted, to_uint8, write_image
from workbench.metrics import ClipMetrics
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.models.tiled import Apply, decoder, encoder, run_tiles, stream_tiles
from workbench.steps import Progress, Steps, drain
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

    seconds: dict[str, float] = field(default_factory=lambda: {"encode_s": 0.0, "decode_s": 0.0})

    def timed(self, stage: str, apply: Apply) -> Apply:
        """The same function, its seconds added to those of `stage`; waits for the GPU, which runs ahead."""

        def run(tile: Tensor) -> Tensor:
            begin = time.perf_counter()
            result = apply(tile)
            if result.is_cuda:
                torch.cuda.synchronize(result.device)
            self.seconds[f"{stage}_s"] += time.perf_counter() - begin
            return result

        return run


def reconstruct(
    ae: Autoencoder, video: Video, tiling: Tiling | None = None, lpips: nn.Module | None = None
) -> Reconstruction:
    """Encode and decode a clip in memory, tile by tile if a tiling is given, and measure every frame.

    Args:
        lpips: the network of `workbench.metrics.load_lpips`, to measure LPIPS too.

    Raises:
        ConfigError: a tile size is not legal for the model.
    """
    return drain(reconstruct_steps(ae, video, tiling, lpips))


def reconstruct_steps(
    ae: Autoencoder, video: Video, tiling: Tiling | None = None, lpips: nn.Module | None = None
) -> Steps[Reconstruction]:
    """`reconstruct` as steps, one a tile."""
    clock, metrics = _Clock(), ClipMetrics(lpips)
    encode_plan, decode_plan = tile_plans(ae, video.num_frames, video.height, video.width, tiling)
    x = video.frames.transpose(0, 1)[None]
    z = yield from run_tiles(encode_plan, x, clock.timed("encode", encoder(ae)), "encode")
    decode = clock.timed("decode", decoder(ae, video.num_frames == 1))
    y = yield from run_tiles(decode_plan, z, decode, "decode")
    output = Video.from_tensor(y, video.fps, timestamps_s=video.timestamps_s)
    metrics.add(video.frames, output.frames)
    return Reconstruction(video, output, z, metrics.values, **clock.seconds)


def reconstruct_file(
    ae: Autoencoder,
    source: str | Path,
    output: str | Path | Outputs,
    tiling: Tiling | None = None,
    policy: ClipPolicy | None = None,
    lpips: nn.Module | None = None,
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
    lpips: nn.Module | None = None,
) -> Steps[FileReport]:
    """`reconstruct_file` as steps: frames counted, then tiles. Closing them removes partial files."""
    clip = yield from open_clip_steps(source, policy or ClipPolicy(), ae.spatial_stride)
    _check_outputs(clip, outputs)
    clock, metrics = _Clock(), ClipMetrics(lpips)
    with ExitStack() as stack:
        writers = _Writers(stack, outputs, clip)
        for piece in stack.enter_context(closing(_stream(ae, clip, tiling, clock))):
            if isinstance(piece, Progress):
                yield piece
                continue
            original, output = piece
            metrics.add(original.to(output.device), output)
            writers.write(original, output.cpu())
    return FileReport(
        source=Path(source),
        model=ae.name,
        num_frames=clip.num_frames,
        height=clip.height,
        width=clip.width,
        fps=clip.fps,
        latent_shape=ae.latent_shape(clip.num_frames, clip.height, clip.width),
        metrics=metrics.values,
        **clock.seconds,
        warnings=clip.warnings + writers.warnings,
    )


def _check_outputs(clip: ClipSource, outputs: Outputs) -> None:
    """Refuse, before any work, outputs that would replace the source or each other, or cannot hold the clip."""
    paths = [path for path in (outputs.reconstruction, outputs.original, outputs.side_by_side) if path is not None]
    resolved = [path.resolve() for path in (clip.info.path, *paths)]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise MediaError(f"{quoted(path)}: is also the source or another output; name another file")
        if clip.info.is_image and path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise MediaError(f"{quoted(path)}: the source is a photo; write .png or .jpg")
        if not clip.info.is_image and path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
            raise MediaError(f"{quoted(path)}: the source is a video; write .mp4, or .mkv for a lossless file")


def _stream(
    ae: Autoencoder, clip: ClipSource, tiling: Tiling | None, clock: _Clock
) -> Iterator[Progress | tuple[Tensor, Tensor]]:
    """Pairs of original and reconstructed frames, uint8 (n, 3, H, W), with progress in between."""
    encode_plan, decode_plan = tile_plans(ae, clip.num_frames, clip.height, clip.width, tiling)
    waiting: deque[Tensor] = deque()
    encode = clock.timed("encode", encoder(ae))
    decode = clock.timed("decode", decoder(ae, clip.num_frames == 1))
    with closing(_remembered(clip, waiting)) as frames:
        latents = stream_tiles(encode_plan, frames, encode, "encode", ae.device)
        for item in stream_tiles(decode_plan, latents, decode, "decode", ae.device):
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


class _Writers:
    """The files asked for, written piece by piece; `stack` completes or removes them.

    Attributes:
        warnings: what the files are not, one line each.
    """

    def __init__(self, stack: ExitStack, outputs: Outputs, clip: ClipSource) -> None:
        self._clip = clip
        self._stack = stack
        self._files = [
            (self._open(path), content)
            for path, content in (
                (outputs.original, lambda original, output: original),
                (outputs.reconstruction, lambda original, output: output),
                (outputs.side_by_side, _beside),
            )
            if path is not None
        ]
        self._written = 0
        self.warnings: tuple[str, ...] = ()

    def write(self, original: Tensor, output: Tensor) -> None:
        """Append frames, uint8 (n, 3, H, W), of the original and of its reconstruction."""
        times = self._clip.timestamps_s and self._clip.timestamps_s[self._written : self._written + len(original)]
        self._written += len(original)
        for file, content in self._files:
            frames = content(original, output)
            if isinstance(file, VideoWriter):
                file.write(frames, times)
                self.warnings += tuple(warning for warning in file.warnings if warning not in self.warnings)
            else:
                write_image(frames[0], file)

    def _open(self, path: Path) -> VideoWriter | Path:
        if self._clip.info.is_image:
            return path
        lossless = path.suffix.lower() == ".mkv"
        return self._stack.enter_context(VideoWriter(path, self._clip.fps, lossless))


def _beside(original: Tensor, output: Tensor) -> Tensor:
    return side_by_side({"original": original, "reconstruction": output})
