"""What to probe."""

from dataclasses import dataclass

from workbench.config import check_range, setting
from workbench.errors import ConfigError
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import DEFAULT_MODEL
from workbench.models.ref import parse_models
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class ProbeSettings(ClipPolicy):
    """Models, the frames that each of them gets, and where results go."""

    models: str = setting(f"{DEFAULT_MODEL},dct", "comma-separated models, each NAME or NAME@WEIGHTS, as for evaluate")
    model: Tiling = Tiling()
    labels: str | None = setting(None, "column of the index that says what a clip shows: LNC is then measured too")
    generator_steps: int = setting(
        0, "train a small generator on the latents of each model for so many steps, and compare its loss; 0: none"
    )
    vision: str | None = setting(
        None,
        "network for what latents say of what is shown, and for how near decoded samples come to frames: dinov2_vitb14 "
        "(as torch.hub keeps it), a file or folder of DINOv2's weights, org/repo/file on the Hub, or vgg (fetch lpips)",
    )
    ifid: bool = setting(
        False, "with `vision`: decode points half-way between latents, and how near they come to frames"
    )
    fvd: bool = setting(
        False,
        "Fréchet video distance of samples of the small generator (fetch fvd): it then learns blocks that decode to 16 "
        "frames, and 401 of them must be held out",
    )
    save_dir: str = setting("probe", "folder for the results; an interrupted run continues there")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_models(self.models)
        check_range("generator_steps", self.generator_steps, 0)
        if self.ifid and self.vision is None:
            raise ConfigError("`ifid`: pictures are held against each other by a network; name one by `vision`")
        if self.fvd and not self.generator_steps:
            raise ConfigError("`fvd`: samples are those of the small generator; give `generator_steps`")
