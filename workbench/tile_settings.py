"""How a model is run over a clip, as a user says it; plans come of it in `tiling` and `models.plans`."""

from dataclasses import dataclass, replace
from typing import Self

from workbench.config import check_choice, check_range, setting
from workbench.errors import ConfigError

FIXED_MODES = ("tiles", "stages", "frames", "windows")
MODES = (*FIXED_MODES, "auto")


@dataclass(frozen=True)
class Tiling:
    """How to run a model over a clip. Sizes left out are those of the model's published tiled inference.

    Modes: `tiles` cuts the clip, as published. The others compute local layers once and exactly, streamed in time; of
    the rest, `stages` makes overlapping tiles and `frames` runs of whole frames, and `windows` streams that too, with
    attention sums over windows as large as the tiles. `auto` takes the cheapest of `frames`, `stages` and `tiles` for
    which the memory suffices.
    """

    use_spatial_tiling: bool = setting(True, "cut frames into tiles")
    use_temporal_tiling: bool = setting(True, "cut the clip into runs of frames")
    spatial_tile_size: int | None = setting(
        None, "side of a tile in pixels; by default the model's own (256, tiny 640)"
    )
    temporal_tile_size: int | None = setting(None, "frames of a tile; by default the model's own (32, tiny 64)")
    tile_overlap_factor: float = setting(0.25, "share of a tile that overlaps the next one, 0 to 0.5")
    tiling_mode: str | None = setting(
        None, f"{', '.join(MODES)}; by default tiles where a tile size is named, else what suits the model"
    )
    push_frames: int | None = setting(
        None,
        "frames that streamed layers take at once, and latents where a decoder begins; more need memory, fewer time",
    )
    memory_gb: float | None = setting(
        None, "memory that `tiling_mode` auto may use, 10^9 bytes; by default what is free"
    )

    def __post_init__(self) -> None:
        check_range("tile_overlap_factor", self.tile_overlap_factor, 0.0, 0.5)
        if self.tiling_mode is not None:
            check_choice("tiling_mode", self.tiling_mode, MODES)
        for name in ("spatial_tile_size", "temporal_tile_size", "push_frames"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1)
        if self.push_frames is not None and self.tiling_mode == "tiles":
            raise ConfigError(
                "`push_frames`: nothing is streamed in tiles; leave it out, or take another `tiling_mode`"
            )
        if self.memory_gb is not None:
            check_range("memory_gb", self.memory_gb, 1e-6)
            if self.tiling_mode != "auto":
                raise ConfigError("`memory_gb`: only `tiling_mode` auto goes by it; ask for that, or leave it out")

    def in_mode(self, mode: str, push_frames: int | None = None) -> Self:
        """The same in another mode, without what that has no use for; with other frames at once where given."""
        push = None if mode == "tiles" else push_frames or self.push_frames
        memory = self.memory_gb if mode == "auto" else None
        return replace(self, tiling_mode=mode, push_frames=push, memory_gb=memory)


OWN_TILING = Tiling()
"""What suits the model: its own mode and tile sizes. A clip of any length goes through in constant memory."""

ONE_PIECE = Tiling(use_spatial_tiling=False, use_temporal_tiling=False, tiling_mode="tiles")
"""All of a clip at once: exactly what `encode` and `decode` give, for as much memory as they take."""
