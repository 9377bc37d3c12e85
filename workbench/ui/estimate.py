"""What a reconstruction will take, worked out from the file's header before anything runs."""

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from workbench.compare.pictures import png_url
from workbench.media.info import MediaInfo
from workbench.media.resize import apply_resize
from workbench.media.resolution import plan_resize
from workbench.media.stream import open_stream
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.models.ref import ModelRef
from workbench.tiling import TilePlan
from workbench.ui.choices import Choices
from workbench.ui.found_models import cost_of_tile, shape_of

if TYPE_CHECKING:
    from workbench.evaluate.tile_cost import TileCost

# Of one slab of output frames: the blend, the finished and the unfinished copy that leave it, and its rounding.
_FLOAT_COPIES_OF_A_SLAB = 4
_THUMBNAIL_SHORT_SIDE = 120


@dataclass(frozen=True)
class Estimate:
    """A job before it runs. `num_frames` is what the file claims; None where it does not say, and then no tile counts.

    Attributes:
        latent_shape: (C, t, h, w).
        tile_shape: frames, height and width of every tile of the encoder.
        frame_bytes: of the frames that are held outside the model, as one span in time of the output.
    """

    num_frames: int | None
    claimed_frames: int | None
    height: int
    width: int
    latent_shape: tuple[int, int, int, int]
    encode_tiles: int
    decode_tiles: int
    overlap_cost: float
    tile_shape: tuple[int, int, int]
    frame_bytes: int

    @property
    def pixel_values(self) -> int:
        return (self.num_frames or 1) * self.height * self.width * 3

    @property
    def latent_values(self) -> int:
        return math.prod(self.latent_shape)


def estimate(choices: Choices, info: MediaInfo, weights: str | None = None) -> Estimate:
    """What the job will take.

    Args:
        weights: as `Choices.weights_in` gives them. A file or folder here tells the architecture; otherwise, nothing is
            downloaded for it, it is the model's own.

    Raises:
        WeightsError: the weights are of another model, or the folder holds none.
        ConfigError: a choice is not possible for this model or clip.
    """
    policy, claimed = choices.policy, info.estimated_frames
    num_frames = policy.taken_of(claimed)
    ae = shape_of(_entry(choices, weights))
    height, width = taken_size(ae, info, policy.resolution)
    shape = num_frames or ae.default_tile_frames, height, width
    plans = tile_plans(ae, *shape, choices.tiling)
    return Estimate(
        num_frames=num_frames,
        claimed_frames=claimed,
        height=height,
        width=width,
        latent_shape=ae.latent_shape(*shape),
        encode_tiles=len(plans[0]),
        decode_tiles=len(plans[1]),
        overlap_cost=plans[0].input_volume / math.prod(shape),
        tile_shape=plans[0].tile_shape,
        frame_bytes=_slab_bytes(plans[1], height, width),
    )


def describe(choices: Choices, seconds_per_pixel: float | None = None, weights: str | None = None) -> Iterator[str]:
    """HTML: the clip's first frame and its size, the latents in plain words, tiles, memory and time.

    Comes twice: at once, and with the memory, which takes up to three seconds to count where a model or a size of tiles
    is new.

    Args:
        seconds_per_pixel: what a pixel of a frame took in the last large job like this one; None before it.
        weights: as in `estimate`.

    Raises:
        MediaError: the clip is missing or cannot be read.
        WeightsError: the weights are of another model, or the folder holds none.
        ConfigError: a choice is not possible for this model or clip.
    """
    with open_stream(choices.path, max_frames=1) as stream:
        info, first = stream.info, next(stream)
    job, picture = estimate(choices, info, weights), _thumbnail(first)

    def page(memory: str) -> str:
        lines = [_clip_line(info, job), _latent_line(job), _tile_line(job), memory, _time_line(job, seconds_per_pixel)]
        rows = "".join(f"<li>{line}</li>" for line in [*lines, *map(html.escape, info.warnings)])
        return f'<div class="estimate">{picture}<ul>{rows}</ul></div>'

    yield page("Memory: being counted")
    yield page(_memory_line(job, cost_of_tile(_entry(choices, weights), choices.device, job.tile_shape)))


def size_words(num_bytes: float) -> str:
    """A number of bytes for reading: 3 bytes, 8 KB, 0.7 MB, 37 MB, 2.1 GB."""
    if num_bytes < 1e3:
        return f"{num_bytes:.0f} bytes"
    if num_bytes < 100e3:
        return f"{math.ceil(num_bytes / 1e3)} KB"
    megabytes = num_bytes / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.{0 if megabytes >= 10 else 1}f} MB"


def compression_words(pixel_values: int, latent_values: int) -> str:
    """How much smaller the latents are, in plain words."""
    ratio = pixel_values / latent_values
    raw, kept = size_words(pixel_values), size_words(2 * latent_values)
    padded = "; more than there were, because models take whole blocks only" if ratio < 1 else ""
    return (
        f"{latent_values:,} numbers stand for {pixel_values:,} colour values: <b>{ratio:.3g} to 1</b> "
        f"({raw} of raw pixels become {kept} at 16 bits a number{padded})"
    )


def time_words(seconds: float) -> str:
    """A time for reading: 8 s, 2:05 min."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def _clip_line(info: MediaInfo, job: Estimate) -> str:
    name = html.escape(Path(info.path).name)
    if info.is_image:
        return f"<b>{name}</b>: a photo of {info.width}×{info.height}, taken as {job.width}×{job.height}"
    counted = f"{job.num_frames} {'frame' if job.num_frames == 1 else 'frames'}"
    frames = "of unknown length" if job.num_frames is None else counted
    if job.claimed_frames is not None and job.num_frames != job.claimed_frames:
        frames = f"the first {job.num_frames} of {job.claimed_frames} frames"
    resized = "" if (job.height, job.width) == (info.height, info.width) else f", from {info.width}×{info.height}"
    return f"<b>{name}</b>: {frames}, {job.width}×{job.height}{resized}, {info.fps:.4g} frames a second"


def _latent_line(job: Estimate) -> str:
    channels, *grid = job.latent_shape
    where = "×".join(map(str, grid))
    part = "" if job.num_frames is not None else "for the first frames, "
    words = compression_words(job.pixel_values, job.latent_values)
    return f"Latents: {part}{channels} channels on a grid of {where}. {words}"


def _tile_line(job: Estimate) -> str:
    if job.encode_tiles == job.decode_tiles == 1:
        return "One piece, no tiles"
    cost = f"overlaps make {job.overlap_cost:.2f} times the work" if job.overlap_cost > 1.005 else "no overlap"
    return f"Tiles: {job.encode_tiles} to encode and {job.decode_tiles} to decode, {cost}"


def _memory_line(job: Estimate, cost: "TileCost") -> str:
    """The sum, though not all of it is held at the same moment where few tiles are cut."""
    total = job.frame_bytes + cost.weight_bytes + cost.work_bytes
    return (
        f"Memory: about {size_words(total)}, counted: {size_words(cost.weight_bytes)} of weights, "
        f"{size_words(cost.work_bytes)} in the model, one tile at a time, and {size_words(job.frame_bytes)} of frames"
    )


def _time_line(job: Estimate, seconds_per_pixel: float | None) -> str:
    if seconds_per_pixel is None or job.num_frames is None:
        return "Time: told while it decodes, and here once a clip of some length has gone through this model"
    seconds = seconds_per_pixel * job.num_frames * job.height * job.width
    return f"Time: about {time_words(seconds)} at the pace of the last long run with this model"


def taken_size(ae: Autoencoder, info: MediaInfo, resolution: str | None) -> tuple[int, int]:
    """Height and width of the frames that the model gets."""
    if resolution is None:
        return info.height, info.width
    resize = plan_resize(resolution, info.height, info.width, ae.spatial_stride)
    return resize.crop_height, resize.crop_width


def _entry(choices: Choices, weights: str | None) -> ModelRef:
    """The model, with its weights where they are here and so can tell its architecture."""
    local = weights if weights and Path(weights).is_absolute() and Path(weights).exists() else None
    return ModelRef(choices.model, local)


def _slab_bytes(plan: TilePlan, height: int, width: int) -> int:
    frames = max(span.out_stop - span.out_start for span in plan.time.spans)
    return frames * height * width * 3 * (1 + 4 * _FLOAT_COPIES_OF_A_SLAB)


def _thumbnail(frame_CHW: Tensor) -> str:
    """The frame as a small picture inside the page, so that no file is served for it."""
    small = plan_resize(min(_THUMBNAIL_SHORT_SIDE, *frame_CHW.shape[1:]), *frame_CHW.shape[1:])
    pixels = apply_resize(frame_CHW[None], small)[0].permute(1, 2, 0).numpy()
    return f'<img alt="First frame of the clip" src="{png_url(Image.fromarray(pixels))}">'
