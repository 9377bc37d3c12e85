"""What to probe."""

from dataclasses import dataclass

from workbench.config import check_range, setting
from workbench.evaluate.settings import parse_models
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import DEFAULT_MODEL
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
    save_dir: str = setting("probe", "folder for the results; an interrupted run continues there")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_models(self.models)
        check_range("generator_steps", self.generator_steps, 0)
