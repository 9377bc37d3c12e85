"""Published reconstruction figures, shown beside one's own where protocol and set agree."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.evaluate.protocols import PROTOCOLS

_FILE = Path(__file__).with_name("published.csv")
FIGURES = ("psnr", "ssim", "lpips", "fvd_frechet", "i3d_per_clip_sq", "fvd_unknown")
"""Figures of a row; `fvd_unknown` is one printed as FVD whose way of measuring is not public."""


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        set_name, protocol: "" where the source does not say.
        figures: by name of `FIGURES`, those that the source gives.
        source: where it is printed.
        note: what its readers should know.
    """

    model: str
    set_name: str
    protocol: str
    figures: dict[str, float]
    source: str
    note: str


def published() -> Iterator[Published]:
    """All rows."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            figures = {name: float(row[name]) for name in FIGURES if row[name]}
            yield Published(row["model"], row["set"], row["protocol"], figures, row["source"], row["note"])


def comparable(protocol: str | None, set_name: str | None, clips: int) -> list[Published]:
    """The rows under this protocol on this set; none unless as many clips are there as the set has, where that is
    known: a part of a set is another set."""
    sizes = dict(PROTOCOLS[protocol].sets) if protocol in PROTOCOLS else {}
    if set_name not in sizes or (sizes[set_name] and clips != sizes[set_name]):
        return []
    return [row for row in published() if row.protocol == protocol and row.set_name == set_name]
