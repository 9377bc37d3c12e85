"""`python -m workbench stats`: mean and standard deviation of a model's latents over a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli import Command
from workbench.commands.dataset import ClipBar, DatasetSettings, load_identified
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import ConfigError, WorkbenchError
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import MODELS
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.latents.statistics import StatisticsReport
    from workbench.models.base import Autoencoder
    from workbench.models.latent_moments import LatentStatistics


@dataclass(frozen=True)
class StatsConfig(ClipPolicy):
    """Settings of `python -m workbench stats`."""

    dataset: DatasetSettings = DatasetSettings()
    model: ModelSettings = ModelSettings()
    out: str | None = setting(None, "the file to write, .json; by default beside the weights, where encode finds it")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_stats(config: StatsConfig) -> None:
    """Encode every clip and write the statistics of all latents together."""
    from workbench.latents.statistics import gather_statistics
    from workbench.ranks import lockstep

    clips = config.dataset.clips()
    with lockstep(config.device) as ranks:
        ae, identity = load_identified(config.model, ranks.world.device, config.dtype)
        out = _output(config, ae)
        with ClipBar(ranks.world, COMMAND) as bar:
            report = gather_statistics(ae, clips, config, config.model, identity, ranks, bar.show)
        if ranks.world.is_main:
            report.statistics.save(out)
            print(_summary(report.statistics, out))
    _check(report)


def _output(config: StatsConfig, ae: "Autoencoder") -> Path:
    from workbench.models.latent_moments import statistics_path

    if config.out is not None:
        return Path(config.out).expanduser()
    if ae.weights_path is None:
        raise ConfigError(f"`out` is needed: {ae.name} has no weights file to put the statistics beside")
    if ae.weights_path in {spec.weights for spec in MODELS.values()}:
        raise ConfigError(f"`out` is needed: {ae.name} is shipped with statistics of its own, which stay")
    return statistics_path(ae.weights_path)


def _summary(statistics: "LatentStatistics", out: Path) -> str:
    mean, std = (f"{min(values):.4g} to {max(values):.4g}" for values in (statistics.mean, statistics.std))
    clips = counted(statistics.policy["clips"], "clip")
    values = f"{statistics.count:,} values in each of {counted(len(statistics.mean), 'channel')}"
    return f"{out}: {clips}, {values}; means {mean}, standard deviations {std}"


def _check(report: "StatisticsReport") -> None:
    if report.failures:
        raise WorkbenchError(f"left out of the statistics: {counted(len(report.failures), 'clip')}, see above")


COMMAND = Command(
    "Mean and standard deviation of a model's latents over a data set.",
    StatsConfig(),
    run_stats,
    aliases=MODEL_ALIASES,
)
