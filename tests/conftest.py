"""With `pytest -n 2` each worker, and what it starts, computes on one thread: fighting over cores is far slower."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


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
