"""With `pytest -n 2` each worker, and what it starts, computes on one thread: fighting over cores is far slower.

Networks that `fetch` has brought to this machine are out of sight: LPIPS in every run would take minutes, and results
would depend on the machine. Tests of the networks bring their own.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench.ranks import World

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
_OWN_TORCH_HOME = "TORCH_HOME_OF_THIS_MACHINE"  # workers inherit what is set here
os.environ.setdefault(_OWN_TORCH_HOME, os.environ.get("TORCH_HOME", ""))
os.environ["TORCH_HOME"] = str(Path(__file__).with_name("no_networks"))


def pytest_configure(config: pytest.Config) -> None:
    """Files go to the workers by name: by number of tests, those of few long ones would all come last, one by one."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.fixture
def fetched_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fetch` brought to this machine is in sight after all."""
    if home := os.environ[_OWN_TORCH_HOME]:
        monkeypatch.setenv("TORCH_HOME", home)
    else:
        monkeypatch.delenv("TORCH_HOME")


@pytest.fixture
def exact_float32() -> Iterator[None]:
    """Float32 that is comparable with a CPU's: TF32 keeps 10 bits of a factor. (`monkeypatch` deletes these settings
    at its end, as they are no attributes of their objects.)"""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def world() -> Iterator["World"]:
    """This process alone, as training sees it."""
    from workbench.ranks import process_group

    with process_group("cpu") as world:
        yield world


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the weights of a small Video DC-AE."""
    from small_models import ARCHITECTURES, small_model

    from workbench.models.weights import save_weights

    folder = tmp_path / "root"
    (folder / "weights").mkdir(parents=True)
    state = small_model("video_dc_ae").state_dict()
    save_weights(folder / "weights" / "small.safetensors", state, "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    return folder
