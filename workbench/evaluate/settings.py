"""What to evaluate, and the policy that is the same for every model."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.config import setting
from workbench.errors import ConfigError, WeightsError
from workbench.evaluate.clip import Instruments
from workbench.media.policy import ClipPolicy
from workbench.models.base import Autoencoder
from workbench.models.registry import DEFAULT_MODEL, load_autoencoder, needs_weights
from workbench.tiling import Tiling

SIDE_MULTIPLE = 32
"""Area resolutions such as 256px are rounded to sides of this multiple for every model, so that all get one size."""

BITS_PER_VALUE = 16
"""Bits that a latent value is charged for: it is stored as bfloat16 or float16, without entropy coding."""

_VERSION = 1  # of the files in an evaluation's folder


@dataclass(frozen=True)
class ModelEntry:
    """One model of `--models`, as NAME or NAME@WEIGHTS.

    Attributes:
        label: the whole entry, which names the model in all results.
        name, weights: as `load_autoencoder` takes them.
    """

    label: str
    name: str
    weights: str | None

    def load(self, device: str | torch.device | None, dtype: str | torch.dtype | None) -> Autoencoder:
        """The model, ready for inference."""
        return load_autoencoder(self.name, self.weights, device, dtype)


@dataclass(frozen=True)
class EvaluateSettings(ClipPolicy):
    """Models, the frames that each of them gets, and where results go."""

    models: str = setting(
        f"{DEFAULT_MODEL},dct",
        "comma-separated models, each NAME or NAME@WEIGHTS, where WEIGHTS is a file, a checkpoint folder, org/repo/file"
        ' on the Hub or random, as in "dct,video_dc_ae@runs/a/step-000100,diffusers:AutoencoderKLWan@random"',
    )
    model: Tiling = Tiling()
    warp_error: bool = setting(False, "measure the warp error along optical flow too; needs opencv-python-headless")
    fvd_network: str | None = setting(
        None,
        "measure rFVD too, with this TorchScript feature network: clips (1, 3, 16, 224, 224) in [-1, 1] to (1, D); it"
        " needs more than D windows of 16 frames",
    )
    save_dir: str = setting("eval", "folder for the results; an interrupted evaluation continues there")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_models(self.models)


def parse_models(text: str) -> tuple[ModelEntry, ...]:
    """The entries of `--models`. The first @ of an entry ends its name, so weights may hold more of them.

    Raises:
        ConfigError: an entry is empty or given twice, or its model is unknown.
        WeightsError: a model needs weights and its entry names none.
    """
    labels = [label.strip() for label in text.split(",")]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ConfigError(f"`models`: {twice[0]!r} is given twice")
    return tuple(map(_parse_entry, labels))


def _parse_entry(label: str) -> ModelEntry:
    name, at, weights = label.partition("@")
    if not name or (at and not weights):
        raise ConfigError(f"`models`: {label!r} is not NAME or NAME@WEIGHTS")
    try:
        needed = needs_weights(name)
    except ConfigError as error:
        raise ConfigError(str(error).replace("`model`:", "`models`:")) from None
    if needed and not weights:
        raise WeightsError(f"`models`: {name} needs weights: write {name}@FILE, or {name}@random for untrained ones")
    return ModelEntry(label, name, weights or None)


def policy_record(
    settings: EvaluateSettings, device: torch.device, dtype: torch.dtype, instruments: Instruments
) -> dict[str, Any]:
    """All that decides the numbers besides models and clips, as plain values: two evaluations compare only if equal."""
    is_cuda = device.type == "cuda"
    return {
        "resolution": settings.resolution,
        "max_frames": settings.max_frames,
        "num_frames": settings.num_frames,
        "fps_max": settings.fps_max,
        **asdict(settings.model),
        "dtype": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "lpips": instruments.lpips is not None,
        "warp_error": "warp_error" in instruments.requested,
        "fvd_network": instruments.fvd and instruments.fvd.sha256,
        "side_multiple": SIDE_MULTIPLE,
        "bits_per_value": BITS_PER_VALUE,
        "version": _VERSION,
    }


def folder_of(settings: EvaluateSettings) -> Path:
    """The folder for the results."""
    return Path(settings.save_dir).expanduser()
