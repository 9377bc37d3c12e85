"""What somebody chose to do with a clip, as the library takes it."""

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigError, WeightsError
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import split_part
from workbench.tile_settings import ONE_PIECE, Tiling

LATENTS_EXTENSION = ".safetensors"
RANDOM_WEIGHTS = "random"
UNCUT = "one piece"
"""The mode of a clip that is not cut at all."""


@dataclass(frozen=True)
class Choices:
    """What somebody chose besides the model. A number that is 0 or left empty (None) is the library's default.

    Attributes:
        mode: one of `tile_settings.MODES`, UNCUT, or nothing for what suits the model.
    """

    source: str | None
    device: str = "cpu"
    max_frames: float | None = None
    resolution: str | None = None
    mode: str | None = None
    spatial_tile_size: float | None = None
    temporal_tile_size: float | None = None
    tile_overlap_factor: float = 0.25

    @property
    def path(self) -> Path:
        """The clip.

        Raises:
            ConfigError: none was given.
        """
        if not self.source:
            raise ConfigError("drop a clip or a photo first, or pick an example")
        return Path(self.source)

    @property
    def is_latents(self) -> bool:
        """Whether what was given is a file of latents instead."""
        return Path(self.source or "").suffix.lower() == LATENTS_EXTENSION

    @property
    def tiling(self) -> Tiling:
        """How to cut the clip.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.mode == UNCUT:
            return ONE_PIECE
        sizes = (_whole(self.spatial_tile_size), _whole(self.temporal_tile_size))
        return Tiling(True, True, *sizes, self.tile_overlap_factor, self.mode or None)

    @property
    def policy(self) -> ClipPolicy:
        """Which frames to take.

        Raises:
            ConfigError: a number is out of range.
        """
        resolution = (self.resolution or "").strip()
        return ClipPolicy(resolution=resolution or None, max_frames=_whole(self.max_frames))


def allowed_weights(text: str, root: Path) -> str:
    """A path under `root` that exists, absolute, or the text itself where it can only be a name on the Hub.

    Raises:
        WeightsError: it leads out of `root`; nothing is said about what is there.
    """
    name, part = split_part(text)
    path = inside(root, name)
    if path and path.exists():
        return str(path) + ("" if part is None else f"#{part}")
    is_hub_name = len(text.split("/")) >= 3 and ".." not in text and not Path(text).is_absolute()
    if path and not (is_hub_name and Path(text).exists()):
        return text if is_hub_name else str(path)
    raise WeightsError(f"{text}: outside the folder that may be opened; put it there or choose another `root`")


def inside(root: Path, text: str) -> Path | None:
    """The path that a visitor wrote, absolute; None where it leads out of `root`, or can be no path."""
    try:
        path = (root / text).resolve()
        path.exists()  # refuses names that are too long
    except (OSError, ValueError):
        return None
    return path if path.is_relative_to(root) else None


def _whole(number: float | None) -> int | None:
    if not number:
        return None
    if number != int(number):
        raise ConfigError(f"{number} is not a whole number")
    return int(number)
