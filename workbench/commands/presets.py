"""Settings of `python -m workbench reconstruct`, and those that were published with models, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.commands.settings import ModelSettings
from workbench.config import check_choice, check_range, override, setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.media.policy import ClipPolicy


@dataclass(frozen=True)
class ReconstructConfig(ClipPolicy):
    """Settings of `python -m workbench reconstruct`."""

    model: ModelSettings = ModelSettings()
    preset: str | None = setting(None, "published inference settings: video_dc_ae or hunyuan_vae")
    save_dir: str = setting("samples", "folder for the results, one folder a clip")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)
    lossless: bool = setting(False, "write bit-exact FFV1 (.mkv) instead of H.264 (.mp4)")
    lpips_every: int | None = setting(None, "LPIPS takes every n-th frame; by default 8 on a CPU, 1 on a GPU")
    side_by_side: bool = setting(True, "write a video of original and reconstruction beside each other")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lpips_every is not None:
            check_range("lpips_every", self.lpips_every, 1)


PRESETS: dict[str, dict[str, Any]] = {
    "video_dc_ae": {
        "model.name": "video_dc_ae",
        "model.tiling_mode": "tiles",
        "model.spatial_tile_size": 256,
        "model.temporal_tile_size": 32,
        "resolution": "512px_ar1:1",
        "num_frames": 96,
        "fps_max": 16.0,
        "dtype": "bfloat16",
        "save_dir": "samples/video_dc_ae",
    },
    "hunyuan_vae": {
        "model.name": "hunyuan_vae",
        "model.tiling_mode": "tiles",
        "model.scale_factor": 0.476986,
        "resolution": "512px_ar1:1",
        "num_frames": 97,
        "fps_max": 16.0,
        "dtype": "bfloat16",
        "save_dir": "samples/hunyuanvideo_vae",
    },
}
"""The inference settings published with Open-Sora 2.0, by name; both tilings are on as they are by default."""


def with_preset(flags: Mapping[str, Any]) -> ReconstructConfig:
    """The starting configuration that `--preset` asks for."""
    name = flags.get("preset")
    if name is None:
        return ReconstructConfig()
    check_choice("preset", name, PRESETS)
    return override(ReconstructConfig(), PRESETS[name])
