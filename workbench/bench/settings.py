"""What `bench` can be told."""

from dataclasses import dataclass

from workbench.config import check_choice, check_range, setting

VARIANTS = ("eager", "channels_last", "compile", "compile_channels_last")


@dataclass(frozen=True)
class BenchSettings:
    """One clip, encoded and decoded untiled, several times."""

    batch: int = setting(1, "clips at once")
    frames: int = setting(8, "frames of the clip")
    height: int = setting(64, "pixels")
    width: int = setting(64, "pixels")
    repeats: int = setting(3, "timed runs; the fastest counts")
    variants: str = setting("eager", f"comma-separated ways to run, compared with the first: {', '.join(VARIANTS)}")

    def __post_init__(self) -> None:
        for name in ("batch", "frames", "height", "width", "repeats"):
            check_range(name, getattr(self, name), 1)
        for variant in self.variants.split(","):
            check_choice("variants", variant, VARIANTS)
