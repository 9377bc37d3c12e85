"""A clip in, its reconstruction and what was lost out: in memory, or file to file in constant memory."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.media.policy import ClipPolicy
from workbench.media.source import ClipSource, ScanError, open_clip_steps
from workbench.media.video import Video, to_uint8
from workbench.metrics.lpips import LPIPS
from workbench.metrics.measure import ClipMetrics
from workbench.models.auto import Choice, ran, within_memory
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_pieces, encode_pieces
from workbench.models.cost import encode_share
from workbench.models.plans import encode_plan
from workbench.models.tiled import collect
from workbench.ranks import Lockstep
from workbench.roundtrip.clock import Clock
from workbench.roundtrip.outputs import Outputs, OutputWriter
from workbench.roundtrip.progress import ENCODE, MEASURE
from workbench.roundtrip.result import FileReport, Reconstruction
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import OWN_TILING, Tiling

MEASURED_AT_ONCE = 8  # frames between two signs of progress
_LONG_S = 3.0  # of encoding: only then is it worth 1.5 s to count the encoder's share, which tells the time left


def reconstruct(
    ae: Autoencoder, video: Video, tiling: Tiling = OWN_TILING, lpips: LPIPS | None = None
) -> Reconstruction:
    """Encode and decode a clip in memory and measure every frame.

    Args:
        tiling: by default as suits the model; `ONE_PIECE` takes all at once.
        lpips: the network of `workbench.metrics.load_lpips`, to measure LPIPS too.

    Raises:
        ConfigError: a tile size is not legal for the model.
    """
    return drain(reconstruct_steps(ae, video, tiling, lpips))


def reconstruct_steps(
    ae: Autoencoder, video: Video, tiling: Tiling = OWN_TILING, lpips: LPIPS | None = None
) -> Steps[Reconstruction]:
    """`reconstruct` as steps: tiles, then frames measured."""
    metrics = ClipMetrics(lpips)
    z, y, facts, _ = yield from round_trip_steps(ae, video.frames, tiling)
    output = Video.from_tensor(y, video.fps, video.timestamps_s, video.last_duration_s)
    for start in range(0, video.num_frames, MEASURED_AT_ONCE):
        part = slice(start, start + MEASURED_AT_ONCE)
        metrics.add(video.frames[part], output.frames[part])
        yield Progress(MEASURE, min(part.stop, video.num_frames), video.num_frames)
    return Reconstruction(
        fps=video.fps,
        timestamps_s=video.timestamps_s,
        metrics=metrics.values,
        warnings=video.warnings,
        original=video,
        output=output,
        latents=z,
        **facts,
    )


def round_trip_steps(
    ae: Autoencoder, frames_TCHW: Tensor, tiling: Tiling, sample_posterior: bool = False
) -> Steps[tuple[Tensor, Tensor, dict[str, Any], Choice]]:
    """Encode and decode a clip in memory, uint8 (T, 3, H, W).

    Args:
        sample_posterior: as in `Autoencoder.encode`.

    Returns:
        Latents (1, C, t, h, w) and frames (1, 3, T, H, W), not clamped; float32, on the device of the frames. Then the
        fields of `RoundTrip` that are known by now, and how the model was run.
    """
    size = frames_TCHW.shape[0], frames_TCHW.shape[2], frames_TCHW.shape[3]
    attempt = partial(_round_trip_once, ae, frames_TCHW, sample_posterior)
    (z, y, seconds), choice = yield from within_memory(ae, size, tiling, attempt)
    facts = {**_sizes(ae, size), **seconds, "ran": ran(ae, size, choice)}
    return z, y, facts, choice


def _round_trip_once(
    ae: Autoencoder, frames_TCHW: Tensor, sample_posterior: bool, tiling: Tiling
) -> Steps[tuple[Tensor, Tensor, dict[str, float]]]:
    """Latents, output, and the seconds that they took."""
    clock, x, device = Clock(), frames_TCHW.transpose(0, 1)[None], frames_TCHW.device
    size = x.shape[2], x.shape[3], x.shape[4]
    timer = clock.timer("encode")
    latents = encode_pieces(ae, iter([x]), size, tiling, timer=timer, sample_posterior=sample_posterior)
    z = yield from collect(clock.watch("encode", latents), ae.latent_frames(size[0]), device)
    frames = decode_pieces(ae, iter([z]), size, tiling, timer=clock.timer("decode"))
    return z, (yield from collect(clock.watch("decode", frames), size[0], device)), clock.seconds


def _sizes(ae: Autoencoder, size: tuple[int, int, int]) -> dict[str, Any]:
    names = ("num_frames", "height", "width")
    return {**dict(zip(names, size, strict=True)), "latent_shape": ae.latent_shape(*size)}


def reconstruct_file(
    ae: Autoencoder,
    source: str | Path,
    output: str | Path | Outputs,
    tiling: Tiling = OWN_TILING,
    policy: ClipPolicy | None = None,
    lpips: LPIPS | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    ranks: Lockstep | None = None,
) -> FileReport:
    """Reconstruct a file into a file in constant memory, for any length, measuring every frame on the way.

    The result equals `reconstruct` on the same frames. Files appear under their names only when complete.

    Args:
        output: the file to write (.mp4, lossless .mkv, .png for photos), or `Outputs` for more than one.
        tiling: by default as suits the model; `ONE_PIECE` takes all at once, and memory with the length of the clip.
        policy: which frames to take and at what size; by default all, as they are.
        ranks: share the tiles over these (`workbench.ranks.lockstep`). Every rank calls it alike and reads the source;
            rank 0 measures and writes, and all get its report. The frames are those of one rank, see `models.coding`.

    Raises:
        MediaError: the input cannot be read or the output cannot be written.
        ConfigError: a tile size is not legal for the model.
    """
    outputs = output if isinstance(output, Outputs) else Outputs(Path(output))
    return drain(reconstruct_file_steps(ae, source, outputs, tiling, policy, lpips, ranks), on_progress)


def reconstruct_file_steps(
    ae: Autoencoder,
    source: str | Path,
    outputs: Outputs,
    tiling: Tiling = OWN_TILING,
    policy: ClipPolicy | None = None,
    lpips: LPIPS | None = None,
    ranks: Lockstep | None = None,
) -> Steps[FileReport]:
    """`reconstruct_file` as steps: frames counted, tiles, frames measured. Closing them removes partial files.

    Packets tell how many frames there are where they can be trusted. Where reading finds otherwise, in a file that is
    damaged in its middle, all begins again with frames counted by decoding.
    """
    given = ae, source, outputs, tiling, policy or ClipPolicy(), lpips, ranks
    try:
        with ranks.shared_errors() if ranks else nullcontext():  # all of them begin again
            return (yield from _one_pass(*given, may_scan=True))
    except ScanError:
        return (yield from _one_pass(*given, may_scan=False))


def _one_pass(
    ae: Autoencoder,
    source: str | Path,
    outputs: Outputs,
    tiling: Tiling,
    policy: ClipPolicy,
    lpips: LPIPS | None,
    ranks: Lockstep | None,
    may_scan: bool,
) -> Steps[FileReport]:
    is_main = ranks is None or ranks.world.is_main
    opened = (yield from _open(ae, source, policy, outputs, may_scan)) if is_main else None
    clip: ClipSource | None = ranks.from_main(opened) if ranks else opened
    assert clip is not None, "rank 0 opened no clip"
    size = clip.num_frames, clip.height, clip.width
    attempt = partial(_reconstruct_clip, ae, clip, outputs if is_main else Outputs(), lpips, ranks)
    count = ranks.world.size if ranks else 1
    (metrics, seconds, warnings), choice = yield from within_memory(ae, size, tiling, attempt, count)
    if ranks and not is_main:
        return ranks.from_main(None)
    facts: dict[str, Any] = {**_sizes(ae, size), **seconds}
    report = FileReport(
        source=Path(source),
        model=ae.name,
        fps=clip.fps,
        timestamps_s=clip.timestamps_s,
        metrics=metrics.values,
        warnings=clip.warnings + warnings,
        ran=ran(ae, size, choice, count),
        **facts,
    )
    return ranks.from_main(report) if ranks else report


def _reconstruct_clip(
    ae: Autoencoder,
    clip: ClipSource,
    outputs: Outputs,
    lpips: LPIPS | None,
    ranks: Lockstep | None,
    tiling: Tiling,
) -> Steps[tuple[ClipMetrics, dict[str, float], tuple[str, ...]]]:
    """Write the outputs and measure every frame; metrics, seconds, and warnings."""
    clock, metrics = Clock(), ClipMetrics(lpips)
    size = clip.num_frames, clip.height, clip.width
    pieces = encode_plan(ae, size, tiling, ranks.world.size if ranks else 1).pieces
    yield Progress(ENCODE, 0, pieces)
    begin, share = time.monotonic(), None
    with ExitStack() as stack:
        writer = OutputWriter(stack, outputs, clip)
        for piece in stack.enter_context(closing(_stream(ae, clip, tiling, clock, ranks))):
            if isinstance(piece, Progress):
                if share is None and piece.stage == ENCODE and time.monotonic() - begin > _LONG_S:
                    share = encode_share(ae)
                yield replace(piece, share=share)
            else:
                yield from _measure_and_write(*piece, metrics, writer, clip.num_frames)
        writer.finish()
    if outputs.worst_frame:
        writer.write_worst_frame(outputs.worst_frame)
    return metrics, clock.seconds, writer.warnings


def _open(
    ae: Autoencoder, source: str | Path, policy: ClipPolicy, outputs: Outputs, may_scan: bool
) -> Steps[ClipSource]:
    """The clip, its frames counted; outputs that cannot hold it are refused."""
    clip = yield from open_clip_steps(source, policy, ae.spatial_stride, may_scan)
    outputs.check(clip)
    return clip


def _measure_and_write(
    original: Tensor, output: Tensor, metrics: ClipMetrics, writer: OutputWriter, num_frames: int
) -> Iterator[Progress]:
    """Measure and write frames, uint8 (n, 3, H, W), a few at a time; `num_frames` is that of the whole clip."""
    for pair in zip(original.split(MEASURED_AT_ONCE), output.split(MEASURED_AT_ONCE), strict=True):
        metrics.add(pair[0].to(output.device), pair[1])
        psnr = metrics.values["psnr"]
        writer.write(pair[0], pair[1].cpu(), psnr[-len(pair[0]) :])
        yield Progress(MEASURE, len(psnr), num_frames)


def _stream(
    ae: Autoencoder, clip: ClipSource, tiling: Tiling, clock: Clock, ranks: Lockstep | None
) -> Generator[Progress | tuple[Tensor, Tensor], None, None]:
    """Pairs of original and reconstructed frames, uint8 (n, 3, H, W), with progress in between.

    Pairs come on rank 0 only, which alone remembers the originals.
    """
    size = clip.num_frames, clip.height, clip.width
    waiting: deque[Tensor] = deque()
    is_main = ranks is None or ranks.world.is_main
    with closing(_chunks(clip, waiting if is_main else None)) as frames:
        read = clock.watch("read", frames)
        latents = clock.watch("encode", encode_pieces(ae, read, size, tiling, ranks, clock.timer("encode")))
        output = decode_pieces(ae, latents, size, tiling, ranks, clock.timer("decode"), to_all=False)
        for item in clock.watch("decode", output):
            if isinstance(item, Progress):
                yield item
            else:
                yield _take(waiting, item.shape[2]), to_uint8(item[0].transpose(0, 1))
        deque(frames, maxlen=0)  # the clip's own check that nothing follows


def _chunks(clip: ClipSource, waiting: deque[Tensor] | None) -> Generator[Tensor, None, None]:
    """The clip's chunks as (1, 3, n, H, W); each is also kept in `waiting`, if given, for its reconstruction."""
    with closing(clip.chunks()) as chunks:
        for chunk in chunks:
            if waiting is not None:
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
