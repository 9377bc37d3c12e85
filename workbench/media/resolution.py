"""Resolution names, and the resize they mean for a clip of a given size; `media.resize` does it.

| name            | meaning                                                                              |
|-----------------|--------------------------------------------------------------------------------------|
| `256px`         | about 256*256 pixels in the nearest of the aspect ratios of `ASPECT_RATIOS`           |
| `256px_ar16:9`  | about 256*256 pixels at that ratio only (width:height)                                |
| `720p`          | 720 lines at 16:9, or its transpose for upright clips                                 |
| `256`           | the short side becomes 256, the aspect ratio is kept, nothing is cropped              |

The names and ratios are those of Open-Sora 2.0 (https://github.com/hpcaitech/Open-Sora).
"""

import dataclasses
import math
import re

from workbench.config import did_you_mean
from workbench.errors import ConfigError

_LANDSCAPE = ("2.39:1", "2:1", "16:9", "1.85:1", "8:5", "3:2", "4:3", "1:1")
ASPECT_RATIOS = _LANDSCAPE + tuple(":".join(reversed(ratio.split(":"))) for ratio in _LANDSCAPE[:-1])
"""Legal aspect ratios, width:height."""

_NAME = re.compile(r"(?P<side>\d{1,5})(?P<unit>px|p)?(_ar(?P<ratio>\d+(\.\d+)?:\d+(\.\d+)?))?")
_MAX_SIDE = 8192
_EXAMPLES = tuple(f"{n}px" for n in (64, 128, 256, 384, 512, 768, 1024)) + ("240p", "360p", "480p", "720p", "1080p")


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resize to `height` x `width`, then crop to `crop_height` x `crop_width`; all in pixels."""

    height: int
    width: int
    crop_height: int
    crop_width: int


@dataclasses.dataclass(frozen=True)
class Resolution:
    """A parsed resolution name.

    Attributes:
        name: as the user wrote it.
        pixels: the nominal number of pixels per frame; 0 for a plain number.
        ratios: the legal aspect ratios, width:height; empty for a plain number.
        short_side: length of the shorter side for a plain number, else 0.
    """

    name: str
    pixels: int
    ratios: tuple[str, ...]
    short_side: int = 0

    def shapes(self, spatial_multiple: int = 1) -> tuple[tuple[int, int], ...]:
        """The (height, width) of every legal ratio, sides rounded to `spatial_multiple`, duplicates merged.

        Raises:
            ConfigError: a side would be shorter than half of `spatial_multiple`.
        """
        shapes = [_shape(self.pixels, ratio, spatial_multiple) for ratio in self.ratios]
        if any(side == 0 for shape in shapes for side in shape):
            need = f"a model whose sides are multiples of {spatial_multiple}"
            raise ConfigError(f"`resolution`: {self.name} is too small for {need}")
        return tuple(dict.fromkeys(shapes))

    def resize(self, height: int, width: int, spatial_multiple: int = 1) -> Resize:
        """The resize for a source of `height` x `width`: onto the legal shape whose aspect ratio is nearest."""
        if self.short_side:
            scale = self.short_side / min(height, width)
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
            return Resize(height, width, height, width)
        return cover(height, width, *nearest_shape(height, width, self.shapes(spatial_multiple)))


def parse_resolution(name: str | int) -> Resolution:
    """Parse a resolution name (see the module's table).

    Raises:
        ConfigError: the name is not understood, or its aspect ratio is not one of `ASPECT_RATIOS`.
    """
    match = _NAME.fullmatch(str(name))
    if not match or (match["ratio"] and match["unit"] != "px"):
        hint = did_you_mean(str(name), _examples())
        raise ConfigError(f"`resolution`: {name!r} is not a name such as 256px, 256px_ar1:1, 720p or 256{hint}")
    side, unit, ratio = int(match["side"]), match["unit"], match["ratio"]
    if not 1 <= side <= _MAX_SIDE:
        raise ConfigError(f"`resolution`: {name!r} must have a side between 1 and {_MAX_SIDE}")
    if ratio and ratio not in ASPECT_RATIOS:
        nearest = min(ASPECT_RATIOS, key=lambda legal: abs(_angle(legal) - _angle(ratio)))
        legal = ", ".join(ASPECT_RATIOS)
        raise ConfigError(f"`resolution`: {ratio} of {name!r} is not one of {legal}; did you mean {nearest}?")
    if unit == "px":
        return Resolution(str(name), side * side, (ratio,) if ratio else ASPECT_RATIOS)
    if unit == "p":
        return Resolution(str(name), side * round(side * 16 / 9), ("16:9", "9:16"))
    return Resolution(str(name), 0, (), short_side=side)


def plan_resize(name: str | int, height: int, width: int, spatial_multiple: int = 1) -> Resize:
    """The resize that the resolution `name` means for a source of `height` x `width` pixels.

    Raises:
        ConfigError: the name is not a resolution, or too small for `spatial_multiple`.
    """
    return parse_resolution(name).resize(height, width, spatial_multiple)


def nearest_shape(height: int, width: int, shapes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The (height, width) of `shapes` whose aspect ratio is nearest, in log space, to that of the source."""
    return min(shapes, key=lambda shape: abs(math.log((shape[0] / shape[1]) / (height / width))))


def cover(height: int, width: int, crop_height: int, crop_width: int) -> Resize:
    """The smallest aspect-preserving resize of a `height` x `width` source that covers the crop."""
    scale = max(crop_height / height, crop_width / width)
    return Resize(
        max(crop_height, round(height * scale)), max(crop_width, round(width * scale)), crop_height, crop_width
    )


def _shape(pixels: int, ratio: str, spatial_multiple: int) -> tuple[int, int]:
    across, down = map(float, ratio.split(":"))
    height, width = math.sqrt(pixels * down / across), math.sqrt(pixels * across / down)
    return _round_to(height, spatial_multiple), _round_to(width, spatial_multiple)


def _angle(ratio: str) -> float:
    """A measure of an aspect ratio that is defined for 0 too."""
    return math.atan2(*map(float, ratio.split(":")))


def _round_to(side: float, multiple: int) -> int:
    """The nearest multiple; halfway goes down (720 lines become 704 at multiples of 32): no invented pixels."""
    return math.ceil(side / multiple - 0.5) * multiple


def _examples() -> list[str]:
    squares = [f"{name}_ar1:1" for name in _EXAMPLES if name.endswith("px")]
    return [*_EXAMPLES, *squares, *(f"256px_ar{ratio}" for ratio in ASPECT_RATIOS)]
