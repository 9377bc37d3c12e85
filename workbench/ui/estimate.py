"""What a reconstruction will take, worked out from the file's header before anything runs."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from PIL import Image
from torch import Tensor

from workbench.compare.pictures import png_url
from workbench.jobs.choices import Choices
from workbench.jobs.estimate import Estimate, estimate, memory_of
from workbench.media.info import MediaInfo
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.stream import open_stream
from workbench.models.catalogue import PREFIX
from workbench.models.ref import ModelRef
from workbench.ui.words import size_words, time_words
from workbench.words import counted, overlap_words

_THUMBNAIL_SHORT_SIDE = 120


def describe(
    choices: Choices, entries: Sequence[ModelRef], paces: Mapping[str, float | None] = MappingProxyType({})
) -> Iterator[str]:
    """HTML: the clip's first frame and its size, and for every model the latents, tiles, memory and time.

    Comes twice: at once, and with the memory, which takes up to three seconds to count where a model or a size of tiles
    is new.

    Args:
        paces: by label, what a pixel of a frame took in the last large job like this one; None before it.

    Raises:
        MediaError: the clip is missing or cannot be read.
        WeightsError: the weights are of another model, or the folder holds none.
        ConfigError: a choice is not possible for this model or clip.
    """
    with open_stream(choices.path, max_frames=1) as stream:
        info, first = stream.info, next(stream)
    jobs = {entry: estimate(choices, info, entry) for entry in entries if not entry.name.startswith(PREFIX)}
    clip = [_clip_line(info, next(iter(jobs.values()), None)), *map(html.escape, info.warnings)]
    head = f'<div class="clip">{_thumbnail(first)}<p>{"<br>".join(clip)}</p></div>'

    def page(memory: Callable[[ModelRef, Estimate], str]) -> str:
        plans = (_plan(entry, job, memory(entry, job), paces.get(entry.label)) for entry, job in jobs.items())
        return f'{head}<dl class="plan">{"".join(plans)}</dl>'

    yield page(lambda entry, job: "Memory: being counted")
    yield page(lambda entry, job: _memory_line(job, *memory_of(choices, entry, job)))


def _plan(entry: ModelRef, job: Estimate, memory: str, pace: float | None) -> str:
    lines = [_latent_line(job), _tile_line(job), memory, *_time_line(job, pace)]
    return f"<dt>{html.escape(entry.label)}</dt>" + "".join(f"<dd>{line}</dd>" for line in lines)


def _clip_line(info: MediaInfo, job: Estimate | None) -> str:
    name = html.escape(Path(info.path).name)
    if job is None:
        return f"<b>{name}</b>"
    if info.is_image:
        return f"<b>{name}</b>: a photo of {info.width}×{info.height}, taken as {job.width}×{job.height}"
    frames = "of unknown length" if job.num_frames is None else counted(job.num_frames, "frame")
    if job.claimed_frames is not None and job.num_frames != job.claimed_frames:
        frames = f"the first {job.num_frames} of {counted(job.claimed_frames, 'frame')}"
    resized = "" if (job.height, job.width) == (info.height, info.width) else f", from {info.width}×{info.height}"
    return f"<b>{name}</b>: {frames}, {job.width}×{job.height}{resized}, {info.fps:.4g} frames a second"


def _latent_line(job: Estimate) -> str:
    channels, *grid = job.latent_shape
    part = "" if job.num_frames is not None else "; for the first frames"
    ratio = f"<b>{job.pixel_values / job.latent_values:.3g} to 1</b>"
    return f"{ratio}: {channels} channels on {'×'.join(map(str, grid))}{part}"


def _tile_line(job: Estimate) -> str:
    if job.is_streamed:
        return f"Streamed: whole frames, up to {job.tile_shape[0]} at once, no work twice"
    if job.mode == "auto":
        return "Cut no more than the free memory asks for, which is seen when it runs"
    if job.mode != "tiles":
        return f"Stage by stage: {'; '.join(map(html.escape, job.stages))}"
    if job.encode_tiles == job.decode_tiles == 1:
        return "One piece, no tiles"
    tiles = f"{job.encode_tiles} to encode and {job.decode_tiles} to decode"
    return f"Tiles: {tiles}, {overlap_words(job.overlap_cost)}"


def _memory_line(job: Estimate, weight_bytes: int, work_bytes: int) -> str:
    """The sum, though not all of it is held at the same moment where few tiles are cut."""
    total = job.frame_bytes + weight_bytes + work_bytes
    parts = (
        f"{size_words(weight_bytes)} of weights, {size_words(work_bytes)} in the model, {_at_once(job)}, "
        f"{size_words(job.frame_bytes)} of frames"
    )
    return f'<span title="counted: {parts}">Memory: {_least(job)}about {size_words(total)}</span>'


def _at_once(job: Estimate) -> str:
    if job.mode in ("tiles", "auto"):
        return "one tile at a time"
    return f"{job.tile_shape[0]} frames at a time" if job.is_streamed else "all stages together"


def _least(job: Estimate) -> str:
    return "at least " if job.mode == "auto" else ""


def _time_line(job: Estimate, seconds_per_pixel: float | None) -> list[str]:
    """At the pace of the last long run with the model; nothing before it."""
    if seconds_per_pixel is None or job.num_frames is None:
        return []
    return [f"Time: about {time_words(seconds_per_pixel * job.num_frames * job.height * job.width)}, as the last run"]


def _thumbnail(frame_CHW: Tensor) -> str:
    """The frame as a small picture inside the page, so that no file is served for it."""
    small = plan_resize(min(_THUMBNAIL_SHORT_SIDE, *frame_CHW.shape[1:]), *frame_CHW.shape[1:])
    pixels = apply_resize(frame_CHW[None], small)[0].permute(1, 2, 0).numpy()
    return f'<img alt="First frame of the clip" src="{png_url(Image.fromarray(pixels))}">'
