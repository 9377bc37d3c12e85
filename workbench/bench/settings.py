"""What `bench` can be told."""

from dataclasses import dataclass

from workbench.config import check_choice, check_range, setting
from workbench.errors import ConfigError
from workbench.tile_settings import FIXED_MODES

VARIANTS = ("eager", "channels_last", "compile", "compile_channels_last")
PUBLISHED = "published"
"""Mode `tiles` as published code runs it on a GPU: plain layout, single steps. On a CPU it is just `tiles`."""

BENCH_MODES = (PUBLISHED, *FIXED_MODES)


@dataclass(frozen=True)
class BenchSettings:
    """One clip, encoded and decoded several times: untiled, or in tiling modes; or measured, by every metric."""

    batch: int = setting(1, "clips at once")
    frames: int = setting(8, "frames of the clip")
    height: int = setting(64, "pixels")
    width: int = setting(64, "pixels")
    repeats: int = setting(3, "timed runs; the fastest counts")
    variants: str = setting("eager", f"comma-separated ways to run, compared with the first: {', '.join(VARIANTS)}")
    modes: str | None = setting(
        None,
        "compare tiling modes with the first of these instead, comma-separated, as in"
        f" {','.join(BENCH_MODES)}; sizes as `model` says",
    )
    clip: str | None = setting(
        None,
        "show what the `modes` do to the first `frames` of this clip instead: against the original, against one piece,"
        " and where tiles meet",
    )
    resolution: str | None = setting(None, "size of the clip's frames: 256 (short side), 256px_ar1:1 (cropped), ...")
    metrics: bool = setting(False, "measure what metrics cost instead, on a clip of this size")

    def __post_init__(self) -> None:
        for name in ("batch", "frames", "height", "width", "repeats"):
            check_range(name, getattr(self, name), 1)
        for variant in self.variants.split(","):
            check_choice("variants", variant, VARIANTS)
        for mode in self.modes.split(",") if self.modes else ():
            check_choice("modes", mode, BENCH_MODES)
        if self.modes and self.metrics:
            raise ConfigError("`modes` and `metrics` are two measurements: give one of them")
        if self.clip and not self.modes:
            raise ConfigError(f"`clip` is for the comparison of modes: give `modes` too, as in {','.join(FIXED_MODES)}")
        if self.clip and PUBLISHED in (self.modes or "").split(","):
            raise ConfigError(f"`modes`: {PUBLISHED} differs from tiles in time alone: leave it out with `clip`")
