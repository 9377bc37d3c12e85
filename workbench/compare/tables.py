"""Results as rows, and as plain text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.files import finite


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
    cells = [[shown(name) for name in columns]] + [[shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_left = [any(isinstance(row.get(name), str) for row in rows) for name in columns]
    lines = [_aligned(line, widths, to_left) for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _aligned(cells: Sequence[str], widths: Sequence[int], to_left: Sequence[bool]) -> str:
    columns = zip(cells, widths, to_left, strict=True)
    return "  ".join(cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns).rstrip()


def shown(value: Any) -> str:
    """One cell in letters: 4 significant digits, "-" for what is undefined, control characters escaped."""
    value = finite(value)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))
