"""The files that words on the command line name."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.errors import ConfigError, DataError, MediaError
from workbench.files import quoted
from workbench.media.files import is_media, list_files, others_left_out

INDEX_EXTENSIONS = (".csv", ".parquet")
"""Index files that `reconstruct` takes, as `python -m workbench index` writes them."""


def find_inputs(inputs: Sequence[str]) -> list[Path]:
    """The media files that these arguments name: files, folders (not recursive) and CSV or Parquet indexes.

    What else a folder holds, and what an index leaves out, is told on stderr.

    Raises:
        ConfigError: there is no input.
        DataError: a folder or index holds none, or the index cannot be read.
        MediaError: there is no such file.
    """
    if not inputs:
        raise ConfigError("nothing to reconstruct: give a video, a photo, a folder or a CSV index")
    files = [path for word in inputs for path in _expand(Path(word))]
    if not files:
        raise DataError(f"{', '.join(inputs)}: no video or photo in there")
    return files


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        files = list_files(path)
        if others := others_left_out(files):
            _tell(f"{quoted(path)}: {others}")
        yield from filter(is_media, files)
    elif path.suffix.lower() in INDEX_EXTENSIONS:
        from workbench.media.index import read_index  # pyarrow takes a while

        index = read_index(path)
        if index.warning:
            _tell(index.warning)
        yield from (Path(clip.path) for clip in index.clips)
    elif not path.exists():
        raise MediaError(f"{quoted(path)}: no such file")
    else:
        yield path


def _tell(line: str) -> None:
    """Say it once, where torchrun has several processes find the same."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
