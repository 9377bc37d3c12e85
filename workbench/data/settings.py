"""What a training run can be told about its data."""

from dataclasses import dataclass

from workbench.config import check_ranges, setting

BucketConfig = dict[str, dict[int, tuple[float, int]]]
"""resolution -> number of frames -> (probability, batch size of one rank)"""


@dataclass(frozen=True)
class DataConfig:
    """Where training clips come from, and how they are read."""

    data_path: str = setting("", "index of the clips, CSV or Parquet: python -m workbench index FOLDER --out data.csv")
    fps_max: float = setting(24.0, "take every n-th frame of faster clips, so that the frame rate is at most this")
    random_crop: bool = setting(False, "crop at a random place instead of the centre")
    vary: bool = setting(
        False, "crop at random scales and places, mirror, reverse and recolour, and make scenes of photos, ever anew"
    )
    num_workers: int = setting(4, "decode processes of each rank; 0 decodes in the training process, without time-out")
    worker_timeout_s: float = setting(60.0, "a clip that takes longer to decode counts as bad")
    in_memory: bool = setting(
        False, "decode every clip once, before the first step, and keep it on the training device: for packs"
    )
    max_bad_in_a_row: int = setting(100, "stop when so many clips in a row cannot be read")

    def __post_init__(self) -> None:
        check_ranges(self, "dataset", fps_max=0.001, num_workers=(0, 256), worker_timeout_s=0.001, max_bad_in_a_row=1)
