"""The index of a data set: one row per clip, as CSV or Parquet, with the columns of Open-Sora.

`path, num_frames, height, width, aspect_ratio, resolution, fps`, where aspect_ratio is height / width and resolution
height * width; fps is empty for images. Other columns (`text`, scores, ...) may be there and are not read.
"""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from workbench.config import did_you_mean
from workbench.errors import DataError, first_line
from workbench.files import quoted

COLUMNS = ("path", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps")
_READ_COLUMNS = ("path", "num_frames", "height", "width", "fps")  # the other two follow from height and width
_FORMATS = (".csv", ".parquet")
_BLOCK_BYTES = 1 << 25  # no row may be longer than this; captions are


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of an index: a video, or an image (one frame).

    Attributes:
        path: the file.
        num_frames, height, width: as the index states them, all at least 1.
        fps: frames per second, 0 if not stated.
    """

    path: str
    num_frames: int
    height: int
    width: int
    fps: float


@dataclass(frozen=True)
class Index:
    """The usable rows of an index file, in its order.

    Attributes:
        path: the file.
        clips: rows whose size and length are known.
        skipped: path -> reason, for rows without a size or length (Open-Sora's tools write them for unreadable files).
        base: the folder that relative paths were taken from, None if all are absolute.
    """

    path: Path
    clips: list[Clip]
    skipped: dict[str, str]
    base: Path | None


def read_index(path: str | Path) -> Index:
    """Read a CSV (UTF-8, with or without a byte-order mark) or Parquet index.

    Relative paths are taken from the index file's folder or, where none of them exists there, from the working
    directory; `Index.base` says which.

    Raises:
        DataError: the file is missing, unreadable or empty, lacks a column, or names files that do not exist.
    """
    path = Path(path)
    check_format(path)
    if not path.is_file():
        raise DataError(
            f"{quoted(path)}: no such index; make one with: python -m workbench index FOLDER --out {path.name}"
        )
    try:
        table = (_read_csv if path.suffix.lower() == ".csv" else _read_parquet)(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{quoted(path)}: cannot be read as an index ({first_line(error)})") from None
    names, *numbers = (table.column(column).to_pylist() for column in _READ_COLUMNS)
    if not names:
        raise DataError(f"{quoted(path)}: the index has no rows")
    files, base = _resolve(path, [name or "" for name in names])
    clips, skipped = _usable(files, *numbers)
    if not clips:
        raise DataError(f"{quoted(path)}: none of its {len(names)} rows states a number of frames and a size")
    return Index(path, clips, skipped, base)


def check_format(path: Path) -> None:
    """Raise DataError unless the name ends in .csv or .parquet."""
    if path.suffix.lower() not in _FORMATS:
        raise DataError(f"{quoted(path)}: the name of an index ends in .csv or .parquet")


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        _check_columns(path, next(csv.reader(file), []))
    options = pa_csv.ConvertOptions(
        include_columns=_READ_COLUMNS,
        column_types={name: pa.string() if name == "path" else pa.float64() for name in _READ_COLUMNS},
    )
    return pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),  # one thread can name the row
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=options,
    )


def _read_parquet(path: Path) -> pa.Table:
    _check_columns(path, pa_parquet.read_schema(path).names)
    table = pa_parquet.read_table(path, columns=list(_READ_COLUMNS))
    fields = [pa.field(name, pa.string() if name == "path" else pa.float64()) for name in _READ_COLUMNS]
    return table.select(_READ_COLUMNS).cast(pa.schema(fields))


def _check_columns(path: Path, found: Sequence[str]) -> None:
    if not found:
        raise DataError(f"{quoted(path)}: the file is empty; an index has the columns {', '.join(COLUMNS)}")
    missing = [name for name in _READ_COLUMNS if name not in found]
    if missing:
        hint = did_you_mean(missing[0], found).replace("did you mean", "is it")
        raise DataError(f"{quoted(path)}: the index has no column {', '.join(map(repr, missing))}{hint}")


def _resolve(index: Path, names: list[str]) -> tuple[list[str], Path | None]:
    """Full paths of all rows, and the base of the relative ones."""
    relative = [name for name in names if not os.path.isabs(name)]
    candidates = (index.absolute().parent, Path.cwd())
    base = next((folder for folder in candidates if any(_is_file(folder, name) for name in relative)), candidates[0])
    files = [os.path.join(base, name) for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not os.path.isfile(file)]
    if missing:
        some = ", ".join(quoted(name) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        where = f" (relative paths are taken from {quoted(base)})" if relative else ""
        raise DataError(f"{quoted(index)}: {len(missing)} of its {len(names)} paths are not files: {some}{where}")
    return files, base if relative else None


def _is_file(folder: Path, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _usable(
    files: list[str],
    num_frames: list[float | None],
    heights: list[float | None],
    widths: list[float | None],
    rates: list[float | None],
) -> tuple[list[Clip], dict[str, str]]:
    clips, skipped = [], {}
    for file, frames, height, width, fps in zip(files, num_frames, heights, widths, rates, strict=True):
        if min(_number(frames), _number(height), _number(width)) < 1:
            skipped[file] = "the index states no number of frames or no size for it"
        else:
            clips.append(Clip(file, int(frames), int(height), int(width), max(0.0, _number(fps))))
    return clips, skipped


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0
