"""`python -m workbench pack`: clips and photos cut into small lossless crops that are quick to train on."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.inputs import find_inputs
from workbench.config import check_range, setting
from workbench.errors import ConfigError, DataError, WorkbenchError
from workbench.files import plain_stem, write_errors
from workbench.media.resolution import parse_resolution
from workbench.words import counted


@dataclass(frozen=True)
class PackConfig:
    """Settings of `python -m workbench pack`."""

    out: str = setting("pack", "folder for the crops; index it afterwards")
    frames: int = setting(16, "frames of every crop")
    side: int = setting(128, "height and width of every crop in pixels")
    resolution: str = setting("256", "frame size to cut from: 256 (short side), 256px (area) or 720p")
    crops: int = setting(3, "crops of every run of that many frames of a clip, and moves over every photo")
    vary: bool = setting(
        False, "vary colours and contrast of crops; photos get layers, blur, noise, changing light and cuts too"
    )
    threads: int = setting(2, "files that are cut at a time")
    seed: int = setting(0, "seed of places and moves")

    def __post_init__(self) -> None:
        for name in ("frames", "side", "crops", "threads"):
            check_range(name, getattr(self, name), 1)
        check_range("seed", self.seed, 0)
        parse_resolution(self.resolution)


def run_pack(config: PackConfig, *sources: str) -> None:
    """Cut every source, the same way for the same seed; files that cannot be read are named and left out."""
    if not sources:
        raise ConfigError("give clips, photos or folders: python -m workbench pack FOLDER --out pack")
    paths = find_inputs(sources)
    _check_names(paths)
    out = Path(config.out)
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"`out` {config.out}: is not empty; name a new folder, so that packs do not mix")
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(config.threads) as pool:
        jobs = pool.map(lambda job: _pack_one(config, *job), enumerate(paths))
        counts = list(tqdm(jobs, total=len(paths), unit="file", file=sys.stderr))
    if not any(counts):
        raise DataError(f"{config.out}: no crop came of {counted(len(paths), 'file')}; the reasons are above")
    packed, left_out = counted(sum(map(bool, counts)), "file"), counted(counts.count(0), "file")
    print(f"{config.out}: {counted(sum(counts), 'crop')} of {packed}, {left_out} left out")


def _pack_one(config: PackConfig, number: int, path: Path) -> int:
    import torch

    from workbench.data.packing import CropShape, pack_file

    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
    shape = CropShape(config.frames, config.side, config.resolution, config.vary)
    try:
        count = pack_file(path, Path(config.out), shape, config.crops, generator)
    except WorkbenchError as error:
        tqdm.write(f"left out: {flag_words(error, COMMAND)}", file=sys.stderr)
        return 0
    if not count:
        tqdm.write(f"left out: {path.name} has fewer than {config.frames} frames", file=sys.stderr)
    return count


def _check_names(paths: list[Path]) -> None:
    stems: dict[str, Path] = {}
    for path in paths:
        other = stems.setdefault(plain_stem(path), path)
        if other is not path:
            raise ConfigError(f"{path} and {other} would give crops of one name; pack them apart")


COMMAND = Command("Cut clips and photos into small lossless crops for training.", PackConfig(), run_pack, "PATH")
