"""`python -m workbench probe`: whether a generator will like a model's latents, before it is trained."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.dataset import DatasetSettings
from workbench.compare.tables import text_table
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import WorkbenchError
from workbench.files import quoted
from workbench.probe.settings import ProbeSettings
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.steps import Progress


@dataclass(frozen=True)
class ProbeConfig(ProbeSettings):
    """Settings of `python -m workbench probe`."""

    dataset: DatasetSettings = DatasetSettings()
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_probe(config: ProbeConfig) -> None:
    """Probe every model on every clip, continuing where an earlier run stopped, and write tables and a page."""
    clips = config.dataset.clips()
    from workbench.probe.page import write_probes
    from workbench.probe.run import probe, read_labels
    from workbench.ranks import process_group

    index = config.dataset.data_path
    labels = read_labels(index, config.labels, clips) if index and config.labels else None
    with process_group(config.device) as world, tqdm(unit="clip", dynamic_ncols=True, disable=not world.is_main) as bar:

        def show(label: str, clip: Path, reason: str | None, done: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(label, refresh=False)
            bar.update(done - bar.n)
            if reason is not None:
                words = flag_words(reason, COMMAND)
                tqdm.write(f"left out: {label}, {quoted(clip.name)}: {words}", file=sys.stderr)

        def show_progress(label: str, progress: "Progress") -> None:
            bar.set_postfix_str(f"{label}: {progress.stage} {progress.done}/{progress.total}")

        probed = probe(config, clips, world, config.dtype, labels, show, show_progress)
    if probed is None:
        return
    rows = write_probes(probed, Path(config.save_dir).expanduser())
    names = list(dict.fromkeys(name for row in rows for name in row if name != "model"))
    print(text_table([{"probe": name, **{row["model"]: row.get(name) for row in rows}} for name in names]))
    for label, space in probed.spaces.items():
        for note in space.notes:
            print(f"{label}: {note}")
    print(f"{probed.told_clips}; see {Path(config.save_dir).expanduser() / 'probes.html'}")
    if probed.failures:
        raise WorkbenchError(
            f"left out: {counted(len(probed.failures), 'clip')}, see above; the same command tries again"
        )


COMMAND = Command(
    "Probe whether a generator will like a model's latents: spectra, neighbours, robustness, a small generator.",
    ProbeConfig(),
    run_probe,
)
