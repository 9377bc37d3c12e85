"""Building the index of a folder by probing every media file in it."""

import os
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from tqdm import tqdm

from workbench.config import check_range
from workbench.errors import DataError, WorkbenchError
from workbench.files import quoted, written_whole
from workbench.media.files import is_media, list_files, others_left_out
from workbench.media.index import COLUMNS, check_format
from workbench.media.reader import count_frames, probe, scan_frames

_TYPES = (pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.int64(), pa.float64())
_SCHEMA = pa.schema(list(zip(COLUMNS, _TYPES, strict=True)))

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class IndexReport:
    """What `build_index` wrote.

    Attributes:
        path: the index file.
        num_videos, num_images: its rows.
        failed: path -> reason, for media files that cannot be read; they are not in the index.
        others: what is to be said of files that are no media, if there are any.
    """

    path: Path
    num_videos: int
    num_images: int
    failed: dict[str, str]
    others: str | None


def build_index(
    folder: str | Path, out: str | Path, *, num_threads: int | None = None, progress: bool = True
) -> IndexReport:
    """Probe every video and image under `folder`, hidden ones and linked folders left out, and write an index.

    Paths under the index file's own folder are written relative to it, so that both can move together; others are
    absolute. Frames are counted in the packets where that is proven to equal decoding, see `media.counting`; elsewhere
    by decoding.

    Args:
        out: the file to write, .csv or .parquet; it appears whole or not at all.
        num_threads: files probed at a time; by default two per CPU.
        progress: show a progress bar on stderr.

    Raises:
        DataError: `folder` is not one or holds no media that can be read, or `out` has another extension.
        FileError: `out` cannot be written.
    """
    out = Path(out)
    check_format(out)
    num_threads = num_threads or 2 * (os.cpu_count() or 1)
    check_range("num_threads", num_threads, 1, 256)
    found = [path for path in _files_under(Path(folder)) if path.absolute() != out.absolute()]
    files = [path for path in found if is_media(path)]
    if not files:
        raise DataError(f"{quoted(folder)}: no video or image in it or below it")
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with closing(_probed(files, out.absolute().parent, num_threads)) as probed:
        for file, result in zip(files, tqdm(probed, total=len(files), unit="file", disable=not progress), strict=True):
            if isinstance(result, str):
                failed[str(file)] = result
            else:
                rows.append(result)
    if not rows:
        first = next(iter(failed.values()))
        raise DataError(f"{quoted(folder)}: none of its {len(files)} media files can be read; the first: {first}")
    _write(rows, out)
    num_images = sum(row["fps"] is None for row in rows)
    return IndexReport(out, len(rows) - num_images, num_images, failed, others_left_out(found))


def _files_under(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, children, _ in os.walk(folder, onerror=_refuse):
        children[:] = sorted(child for child in children if not child.startswith("."))
        files += list_files(parent)
    return files


def _refuse(error: OSError) -> None:
    raise DataError(f"{quoted(error.filename)}: not a folder that can be read ({error.strerror})")


def _probed(files: list[Path], base: Path, num_threads: int) -> Generator[Row | str, None, None]:
    """A row, or the reason why there is none, for each file in order. Threads do: FFmpeg works outside the GIL."""
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from pool.map(lambda file: _row_of(file, base), files)
    finally:
        pool.shutdown(cancel_futures=True)


def _row_of(file: Path, base: Path) -> Row | str:
    try:
        info = probe(file)
        values = (
            _written_path(file, base),
            1 if info.is_image else scan_frames(file) or count_frames(file),
            info.height,
            info.width,
            info.height / info.width,
            info.height * info.width,
            None if info.is_image else info.fps,
        )
        return dict(zip(COLUMNS, values, strict=True))
    except (WorkbenchError, OSError) as error:
        return str(error)


def _written_path(file: Path, base: Path) -> str:
    """Relative to the index's folder where the file lies below it, else absolute.

    Raises:
        DataError: the name is not text, so that no index can hold it.
    """
    file = file.absolute()
    name = str(file.relative_to(base)) if file.is_relative_to(base) else str(file)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{quoted(file)}: its name is not valid UTF-8; rename it") from None
    # A spreadsheet would run a cell that begins like this as a formula.
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _write(rows: Iterable[Row], out: Path) -> None:
    table = pa.Table.from_pylist(list(rows), schema=_SCHEMA)
    with written_whole(out) as temporary:
        (pa_csv.write_csv if out.suffix.lower() == ".csv" else pa_parquet.write_table)(table, temporary)
