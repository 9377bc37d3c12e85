"""`python -m workbench encode`: a data set to a folder of latents, to train a generator on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import Command
from workbench.commands.dataset import ClipBar, DatasetSettings, load_identified
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import WeightsError, WorkbenchError
from workbench.latents.settings import EncodeSettings
from workbench.models.ref import ModelRef
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.latents.clips import Normalisation
    from workbench.models.base import Autoencoder
    from workbench.models.latent_moments import LatentStatistics

_BESIDE = "weights"


@dataclass(frozen=True)
class EncodeConfig(EncodeSettings):
    """Settings of `python -m workbench encode`."""

    dataset: DatasetSettings = DatasetSettings()
    model: ModelSettings = ModelSettings()
    normalise: str | None = setting(
        None,
        "bring every channel to mean 0 and deviation 1: by the statistics beside the weights (write weights), or by a"
        " file that stats wrote; decode undoes it",
    )
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_encode(config: EncodeConfig) -> None:
    """Encode every clip that the folder does not hold yet."""
    from workbench.latents.encode import Encoding, encode_dataset
    from workbench.ranks import lockstep

    clips = config.dataset.clips()
    with lockstep(config.device) as ranks:
        ae, identity = load_identified(config.model, ranks.world.device, config.dtype)
        normalisation = _normalisation(config, ae, identity)
        encoding = Encoding(ae, config, config.model, normalisation, identity, _record(config.model.ref.absolute()))
        with ClipBar(ranks.world, COMMAND) as bar:
            report = encode_dataset(encoding, clips, ranks, bar.show)
        if ranks.world.is_main:
            found = counted(report.clips, "clip")
            print(f"{config.save_dir}: {found} in index.csv, {report.encoded} of them encoded by this run")
    if report.failures:
        raise WorkbenchError(
            f"left out: {counted(len(report.failures), 'clip')}, see above; the same command tries again"
        )


def _record(ref: ModelRef) -> dict[str, Any]:
    """What `decode` loads the same model by: fields of `ModelSettings`."""
    return {"name": ref.name, "from_pretrained": ref.weights, "architecture": dict(ref.architecture)}


def _normalisation(config: EncodeConfig, ae: "Autoencoder", identity: dict[str, Any]) -> "Normalisation | None":
    """What `--normalise` asks for.

    Raises:
        WeightsError: the statistics are not there, damaged, or of another model.
    """
    from workbench.latents.clips import normalisation_of
    from workbench.models.latent_moments import read_statistics

    if config.normalise is None:
        return None
    by_file = config.normalise != _BESIDE
    statistics = read_statistics(Path(config.normalise).expanduser()) if by_file else _beside_weights(ae)
    return normalisation_of(statistics, ae, identity["weights_sha256"])


def _beside_weights(ae: "Autoencoder") -> "LatentStatistics":
    from workbench.models.latent_moments import find_statistics, statistics_path

    if ae.weights_path is None:
        raise WeightsError(f"`normalise`: {ae.name} has no weights file; name a file that stats wrote")
    found = find_statistics(ae.weights_path)
    if found is None:
        path = statistics_path(ae.weights_path)
        raise WeightsError(f"`normalise`: {path} is missing; run python -m workbench stats first")
    return found


COMMAND = Command(
    "Encode a data set to latents for training a generator.",
    EncodeConfig(),
    run_encode,
    aliases=MODEL_ALIASES,
)
