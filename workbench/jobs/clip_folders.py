"""A folder for each clip's results."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from workbench.files import plain_stem, write_errors

SUMMARY = "summary.csv"
"""The table that stands beside the folders."""


@contextmanager
def claimed_folder(save_dir: Path, path: Path) -> Iterator[Path]:
    """The clip's own folder under `save_dir`: that of an earlier run on the same file, or a new one.

    A folder belongs to the file that its `.source` names, so neither clips of one name nor runs at the same time meet.
    No folder takes the name of the summary, or of any other file.
    A new folder is removed again if nothing comes of it.
    """
    source, stem = str(path.resolve()), plain_stem(path)
    for number in count(1):
        folder = save_dir / (stem if number == 1 else f"{stem}-{number}")
        if folder.name == SUMMARY or folder.is_file():
            continue
        mark = folder / ".source"
        with write_errors(folder):
            folder.mkdir(exist_ok=True)
            is_new = _created(mark, source)
        if is_new or mark.read_text(encoding="utf-8", errors="surrogateescape") == source:
            break
    try:
        yield folder
    except BaseException:
        if is_new:
            mark.unlink()
            with suppress(OSError):  # not empty: something of the user's is in there
                folder.rmdir()
        raise


def _created(mark: Path, content: str) -> bool:
    """Write a file that did not exist; False where it does."""
    try:
        with mark.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
