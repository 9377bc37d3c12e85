"""The files that words on the command line name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.files import list_media

INDEX_EXTENSIONS = (".csv", ".parquet")
"""Index files that `reconstruct` takes, as `python -m workbench index` writes them."""


def find_inputs(inputs: Sequence[str]) -> list[Path]:
    """The media files that these arguments name: files, folders (not recursive) and CSV or Parquet indexes.

    Raises:
        MediaError: there is no input, or a folder or index holds none.
    """
    if not inputs:
        raise MediaError("nothing to reconstruct: give a video, a photo, a folder or a CSV index")
    files = [path for word in inputs for path in _expand(Path(word))]
    if not files:
        raise MediaError(f"{', '.join(inputs)}: no video or photo in there")
    missing = [path for path in files if not path.exists()]
    if missing:
        raise MediaError(f"{quoted(missing[0])}: no such file")
    return files


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from list_media(path)
    elif path.suffix.lower() in INDEX_EXTENSIONS:
        from workbench.data.index import read_index  # pyarrow takes a while

        yield from (Path(clip.path) for clip in read_index(path).clips)
    else:
        yield path
