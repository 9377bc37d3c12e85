"""What jobs that can be resumed write down, to know what is done and to refuse going on under other settings."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, FileError
from workbench.files import quoted


def file_key(text: str, readable: str) -> str:
    """A name for a file, legal everywhere: the readable part as far as it goes and a digest of the text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", readable)[:48].strip(".-") + "-" + digest


def clip_key(clip: Path) -> str:
    """A name for all that belongs to one file: its own, and a digest of where it is."""
    return file_key(str(clip.resolve()), clip.stem)


def source_record(clip: Path) -> dict[str, Any]:
    """What tells a file from its successor under the same name.

    Raises:
        FileError: it cannot be read.
    """
    try:
        status = clip.stat()
    except OSError as error:
        raise FileError(f"{quoted(clip)}: cannot be read ({error.strerror})") from None
    path = str(clip.resolve()).encode("utf-8", "backslashreplace").decode()
    return {"path": path, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], what: str, remedy: str) -> None:
    """Raise ConfigError, naming what differs, unless two records are equal."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if names:
        changes = ", ".join(f"{name} was {_shown(found.get(name))}, is {_shown(wanted.get(name))}" for name in names)
        raise ConfigError(f"{what}: {changes}; {remedy}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:16] + "..."
