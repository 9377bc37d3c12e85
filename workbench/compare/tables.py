"""Results as files (JSON, CSV) and as plain text for the terminal."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.media.files import write_errors, written_whole

# What a spreadsheet takes as the beginning of a formula, and what it skips before one. OWASP, "CSV Injection".
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def write_json(path: str | Path, record: Any) -> None:
    """Write plain nested values as JSON; NaN and infinities, which JSON does not have, become null.

    The file appears whole or not at all.

    Raises:
        MediaError: it cannot be written.
    """
    text = json.dumps(_finite(record), indent=2, ensure_ascii=False)
    with written_whole(Path(path)) as temporary, write_errors(Path(path)):
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with a header; columns are the names of all rows, in order of appearance.

    Missing values, NaN and infinities are empty cells. Text that a spreadsheet would run as a formula gets a leading
    apostrophe. The file appears whole or not at all.

    Raises:
        MediaError: it cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        written_whole(Path(path)) as temporary,
        write_errors(Path(path)),
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([csv_cell(name) for name in columns])
        writer.writerows([csv_cell(row.get(name)) for name in columns] for row in rows)


def csv_cell(value: Any) -> Any:
    """A value as `write_csv` writes it."""
    value = _finite(value)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def frame_rows(
    metrics: Mapping[str, Sequence[float]], timestamps_s: Sequence[float] | None = None
) -> list[dict[str, float]]:
    """Per-frame metrics as one row a frame: frame, time_s where timestamps are given, and every metric."""
    columns = dict(metrics) if timestamps_s is None else {"time_s": timestamps_s, **metrics}
    values = zip(*columns.values(), strict=True)
    return [{"frame": frame, **dict(zip(columns, row, strict=True))} for frame, row in enumerate(values)]


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as an aligned table for a terminal: text to the left, numbers to the right with 4 significant digits.

    Control characters, such as those that a file name may hold, are escaped; undefined numbers are shown as "-".
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_shown(name) for name in columns]] + [[_shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_left = [any(isinstance(row.get(name), str) for row in rows) for name in columns]
    lines = [_aligned(line, widths, to_left) for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _aligned(cells: Sequence[str], widths: Sequence[int], to_left: Sequence[bool]) -> str:
    columns = zip(cells, widths, to_left, strict=True)
    return "  ".join(cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns).rstrip()


def _shown(value: Any) -> str:
    value = _finite(value)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def _finite(value: Any) -> Any:
    """Plain nested values with None for NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
