"""What `encode` can be told about frames and files."""

from dataclasses import dataclass

from workbench.config import check_choice, check_range, setting
from workbench.devices import DTYPES
from workbench.media.policy import ClipPolicy


@dataclass(frozen=True)
class EncodeSettings(ClipPolicy):
    """Which frames are encoded, and how latents are stored."""

    save_dir: str = setting("latents", "folder for the latents; an interrupted run continues there")
    latent_dtype: str = setting("float32", f"type that latents are stored in: {', '.join(DTYPES)}")
    shard_mb: int = setting(256, "megabytes of latents in a shard, at least; clips are never split")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("latent_dtype", self.latent_dtype, DTYPES)
        check_range("shard_mb", self.shard_mb, 1)
