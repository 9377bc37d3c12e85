"""What somebody chose for a reconstruction, as the library takes it."""

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigError, WeightsError
from workbench.files import find_below
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import find_spec, split_part
from workbench.models.ref import ModelRef
from workbench.tile_settings import ONE_PIECE, Tiling

WEIGHT_EXTENSIONS = (".safetensors", ".pt")
RANDOM_WEIGHTS = "random"


@dataclass(frozen=True)
class Choices:
    """The inputs of the Reconstruct tab. A number that is 0 or left empty (None) is the library's default."""

    source: str | None
    model: str
    weights: str | None
    device: str
    max_frames: float | None
    resolution: str | None
    tiled: bool
    spatial_tile_size: float | None
    temporal_tile_size: float | None
    tile_overlap_factor: float

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
    def tiling(self) -> Tiling:
        """How to cut the clip.

        Raises:
            ConfigError: a number is out of range.
        """
        if not self.tiled:
            return ONE_PIECE
        sizes = (_whole(self.spatial_tile_size), _whole(self.temporal_tile_size))
        return Tiling(True, True, *sizes, self.tile_overlap_factor)

    @property
    def policy(self) -> ClipPolicy:
        """Which frames to take.

        Raises:
            ConfigError: a number is out of range.
        """
        resolution = (self.resolution or "").strip()
        return ClipPolicy(resolution=resolution or None, max_frames=_whole(self.max_frames))

    @property
    def named_weights(self) -> str | None:
        """The weights as they were named; None for the model's own, or if it needs none."""
        return (self.weights or "").strip() or None if find_spec(self.model).weights is not None else None

    def weights_in(self, root: Path) -> str | None:
        """The weights to load: a path under `root`, a name on the Hub, "random", or None if the model needs none.

        Raises:
            WeightsError: they are outside `root`.
        """
        text = self.named_weights
        return text if text in (None, RANDOM_WEIGHTS) else allowed_weights(text, root)

    def ref_in(self, root: Path) -> ModelRef:
        """The model with its weights; errors as of `weights_in`."""
        return ModelRef(self.model, self.weights_in(root))


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
    raise WeightsError(f"{text}: outside the folder that this app may open; put it there or start app.py with --root")


def inside(root: Path, text: str) -> Path | None:
    """The path that a visitor wrote, absolute; None where it leads out of `root`, or can be no path."""
    try:
        path = (root / text).resolve()
        path.exists()  # refuses names that are too long
    except (OSError, ValueError):
        return None
    return path if path.is_relative_to(root) else None


def find_weights(root: Path) -> list[str]:
    """Weight files under `root`, at most three folders deep, as paths relative to it."""
    return [str(path.relative_to(root)) for path in find_below(root, *(f"*{end}" for end in WEIGHT_EXTENSIONS))]


def _whole(number: float | None) -> int | None:
    if not number:
        return None
    if number != int(number):
        raise ConfigError(f"{number} is not a whole number")
    return int(number)
