"""`python -m workbench index`: a table of the clips and photos in a folder, for training and evaluation."""

import sys
from dataclasses import dataclass

from workbench.cli import Command
from workbench.config import setting
from workbench.errors import ConfigError
from workbench.words import counted


@dataclass(frozen=True)
class IndexConfig:
    """Settings of `python -m workbench index`."""

    out: str = setting("data.csv", "the index to write, .csv or .parquet")
    num_threads: int | None = setting(None, "files probed at a time; by default two per CPU")


def run_index(config: IndexConfig, *folders: str) -> None:
    """Probe every video and photo under a folder and write the index."""
    if len(folders) != 1:
        raise ConfigError("give one folder: python -m workbench index FOLDER --out data.csv")
    from workbench.data.indexing import build_index

    report = build_index(folders[0], config.out, num_threads=config.num_threads)
    for reason in report.failed.values():
        print(f"left out: {reason}", file=sys.stderr)
    if report.others:
        print(report.others, file=sys.stderr)
    found = f"{counted(report.num_videos, 'video')}, {counted(report.num_images, 'photo')}"
    print(f"{report.path}: {found}, {len(report.failed)} left out")


COMMAND = Command("Index a folder of videos and photos.", IndexConfig(), run_index, words="FOLDER")
