"""The index of a data set: one row per clip, as CSV or Parquet, with the columns of Open-Sora.

`path, num_frames, height, width, aspect_ratio, resolution, fps`, where aspect_ratio is height / width and resolution
height * width; fps is empty for images. Other columns (`text`, scores, ...) may be there and are not read.
"""

import csv
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from workbench.config import did_you_mean
from workbench.errors import DataError, first_line
from workbench.files import quoted

COLUMNS = ("path", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps")
_READ_COLUMNS = ("path", "num_frames", "height", "width", "fps")  # the other two follow from height and width
_FORMATS = (".csv", ".parquet")
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_LONGEST_FIELD = 1 << 25
_MISSING = ("", "na", "n/a", "#n/a", "none", "null")  # as table programs write a number that is not known
_MOST_NAMED = 3


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
        skipped: path -> rows and reason, where there is no such file, or no size or length is stated (Open-Sora's
            tools write that for unreadable files). Every row is here or in `clips`.
        base: the folder that relative paths were taken from, None if all are absolute.
    """

    path: Path
    clips: list[Clip]
    skipped: dict[str, str]
    base: Path | None

    @property
    def warning(self) -> str | None:
        """What to say of the rows that are left out, in a line; None where all are in."""
        if not self.skipped:
            return None
        some = "; ".join(f"{quoted(path)}: {why}" for path, why in list(self.skipped.items())[:_MOST_NAMED])
        more = "; ..." if len(self.skipped) > _MOST_NAMED else ""
        files = len(self.skipped.keys() | {clip.path for clip in self.clips})
        return f"{quoted(self.path)}: {len(self.skipped)} of {files} files left out: {some}{more}"


def read_index(path: str | Path) -> Index:
    """Read a CSV (UTF-8, with or without a byte-order mark) or Parquet index.

    Relative paths are taken from the index file's folder or, where none of them exists there, from the working
    directory; `Index.base` says which.

    Raises:
        DataError: the file is missing, unreadable or empty, lacks a column, has a row that is none, or states no
            clip that is there.
    """
    path = Path(path)
    check_format(path)
    if not path.is_file():
        raise DataError(
            f"{quoted(path)}: no such index; make one with: python -m workbench index FOLDER --out {path.name}"
        )
    try:
        rows = list((_csv_rows if path.suffix.lower() == ".csv" else _parquet_rows)(path))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{quoted(path)}: cannot be read as an index ({first_line(error)})") from None
    if not rows:
        raise DataError(f"{quoted(path)}: the index has no rows")
    files, base = _resolve(path, [row.path for row in rows])
    clips, skipped = _usable(files, rows)
    if not clips:
        raise DataError(f"{quoted(path)}: none of its {len(files)} rows states a number of frames and a size")
    return Index(path, clips, skipped, base)


def check_format(path: Path) -> None:
    """Raise DataError unless the name ends in .csv or .parquet."""
    if path.suffix.lower() not in _FORMATS:
        raise DataError(
            f"{quoted(path)}: the name of an index ends in .csv or .parquet; "
            "python -m workbench index FOLDER --out data.csv makes one"
        )


class _Row(NamedTuple):
    """What one row says, and where it stands in the file: "line 7" or "row 6"."""

    place: str
    path: str
    num_frames: float | None
    height: float | None
    width: float | None
    fps: float | None


def _csv_rows(path: Path) -> Iterator[_Row]:
    """Row by row and strictly: a quote that is left open takes in what follows it, which must not go unnoticed."""
    line = 1
    with path.open(encoding="utf-8-sig", newline="") as file, _fields_of_any_length():
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_columns(path, header)
            columns = [header.index(name) for name in _READ_COLUMNS]
            line = reader.line_num + 1
            for fields in reader:
                if fields and len(fields) != len(header):
                    what = f"{len(fields)} fields, the header {len(header)}"
                    raise DataError(f"{quoted(path)}: line {line} has {what}; text with commas needs quotes")
                if fields:
                    name, *numbers = (fields[column] for column in columns)
                    yield _Row(f"line {line}", name, *map(_parsed, numbers))
                line = reader.line_num + 1
        except csv.Error as error:
            why = f"a quote that begins there is not closed, or text follows it ({error})"
            raise DataError(f"{quoted(path)}: line {line}: {why}") from None
        except _NoNumber as error:
            raise DataError(f"{quoted(path)}: line {line}: {error} is not a number") from None


class _NoNumber(ValueError):
    """A cell that should hold a number."""


def _parsed(cell: str) -> float | None:
    try:
        return None if cell.strip().lower() in _MISSING else float(cell)
    except ValueError:
        raise _NoNumber(repr(cell)) from None


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Captions may be longer than what Python's reader admits at first."""
    usual = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _parquet_rows(path: Path) -> Iterator[_Row]:
    _check_columns(path, pa_parquet.read_schema(path).names)
    table = pa_parquet.read_table(path, columns=list(_READ_COLUMNS))
    fields = [pa.field(name, pa.string() if name == "path" else pa.float64()) for name in _READ_COLUMNS]
    columns = (column.to_pylist() for column in table.select(_READ_COLUMNS).cast(pa.schema(fields)).columns)
    for number, (name, *numbers) in enumerate(zip(*columns, strict=True), 1):
        yield _Row(f"row {number}", name or "", *numbers)


def _check_columns(path: Path, found: Sequence[str]) -> None:
    if not found:
        raise DataError(f"{quoted(path)}: the file is empty; an index has the columns {', '.join(COLUMNS)}")
    doubled = [name for name in _READ_COLUMNS if found.count(name) > 1]
    if doubled:
        raise DataError(f"{quoted(path)}: the index has more than one column {doubled[0]!r}; keep the one that counts")
    missing = [name for name in _READ_COLUMNS if name not in found]
    if not missing:
        return
    for separator, what in _SEPARATORS.items():
        if len(found) == 1 and separator in found[0]:
            raise DataError(f"{quoted(path)}: its columns are separated by {what}; save it with commas")
    hint = did_you_mean(missing[0], found).replace("did you mean", "is it")
    raise DataError(f"{quoted(path)}: the index has no column {', '.join(map(repr, missing))}{hint}")


def _resolve(index: Path, names: list[str]) -> tuple[list[str], Path | None]:
    """Full paths of all rows, and the base of the relative ones.

    Raises:
        DataError: none of them is a file.
    """
    relative = [name for name in names if not os.path.isabs(name)]
    candidates = (index.absolute().parent, Path.cwd())
    base = next((folder for folder in candidates if any(_is_file(folder, name) for name in relative)), candidates[0])
    files = [os.path.join(base, name) for name in names]
    if not any(map(os.path.isfile, files)):
        some = ", ".join(quoted(name) for name in names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        where = f" (relative paths are taken from {quoted(base)})" if relative else ""
        raise DataError(f"{quoted(index)}: none of its {len(names)} paths is a file: {some}{where}")
    return files, base if relative else None


def _is_file(folder: Path, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _usable(files: list[str], rows: list[_Row]) -> tuple[list[Clip], dict[str, str]]:
    clips, left_out = [], defaultdict(list)
    for file, row in zip(files, rows, strict=True):
        num_frames, height, width = (int(_number(value)) for value in (row.num_frames, row.height, row.width))
        if not os.path.isfile(file):
            left_out[file, "no such file"].append(row.place)
        elif min(num_frames, height, width) < 1:
            left_out[file, "the index states no number of frames or no size for it"].append(row.place)
        else:
            clips.append(Clip(file, num_frames, height, width, max(0.0, _number(row.fps))))
    return clips, {file: f"{', '.join(places)}: {why}" for (file, why), places in left_out.items()}


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0
