"""Files of any kind: names for messages, whole writes, JSON and CSV."""

import csv
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import FileError

# What a spreadsheet takes as the beginning of a formula, and what it skips before one. OWASP, "CSV Injection".
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def quoted(path: str | os.PathLike) -> str:
    """A file name for a message: in quotes, on one line, with control characters escaped."""
    return repr(os.fspath(path))


def plain_stem(path: Path) -> str:
    """The beginning of the names of what is made of a file: its own, without dots and blanks at its ends, which could
    lead out of a folder ("...mp4" has the stem "..") or hide what is made; "clip" where nothing else remains."""
    return path.stem.strip(". ") or "clip"


def find_below(folder: Path, *patterns: str) -> list[Path]:
    """Files at most three folders below a folder whose name matches one of these patterns; hidden ones stay out."""
    depths = ("", "*/", "*/*/", "*/*/*/")
    found = {path for depth in depths for pattern in patterns for path in folder.glob(depth + pattern)}
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path` to write to. It takes the name `path`, synced to disk, only if all goes well.

    Raises:
        FileError: the folder is missing, or the disk is full or otherwise refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        with write_errors(path):
            temporary.open("xb").close()
            mode = temporary.stat().st_mode  # some libraries put a private file in its place
        yield temporary
        with write_errors(path):
            temporary.chmod(mode)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the disk while writing `path` into a FileError."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{quoted(path)}: cannot be written ({error.strerror or error})") from error


def write_json(path: str | Path, record: Any) -> None:
    """Write plain nested values as JSON; NaN and infinities, which JSON does not have, become null.

    The file appears whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    write_text(Path(path), json.dumps(finite(record), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; lone surrogates, as file names may hold, are escaped.

    Raises:
        FileError: it cannot be written.
    """
    with written_whole(path) as temporary, write_errors(path):
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with a header; columns are the names of all rows, in order of appearance.

    Missing values, NaN and infinities are empty cells. Text that a spreadsheet would run as a formula gets a leading
    apostrophe. The file appears whole or not at all.

    Raises:
        FileError: it cannot be written.
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
    value = finite(value)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON file's content, None where there is no such file.

    Raises:
        FileError: it cannot be read, or is no whole record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{quoted(path)}: cannot be read ({error.strerror})") from None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise FileError(f"{quoted(path)}: is damaged, or no record; remove it, and it is made again")
    return record


def finite(value: Any) -> Any:
    """Plain nested values with None for NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
