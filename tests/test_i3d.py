"""I3D: the padding of TensorFlow, and the logits of the published network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import formula_clip

from workbench.errors import ShapeError
from workbench.metrics.i3d import I3D, load_i3d, same_padding
from workbench.metrics.networks import missing_network, network_path

REFERENCE = Path(__file__).parent / "reference" / "i3d_logits.npz"


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [
        (224, 7, 2, 2, 3),
        (16, 7, 2, 2, 3),
        (9, 7, 2, 3, 3),
        (56, 3, 1, 1, 1),
        (7, 3, 2, 1, 1),
        (8, 2, 2, 0, 0),
        (5, 1, 1, 0, 0),
    ],
)
def test_padding_is_tensorflows(size, kernel, stride, before, after):
    x = torch.ones(1, 1, 1, 1, size)
    padded = same_padding(x, (1, 1, kernel), (1, 1, stride))[0, 0, 0, 0]
    assert padded.tolist() == [0.0] * before + [1.0] * size + [0.0] * after


def test_other_sizes_are_refused():
    with pytest.raises(ShapeError, match="9 or more, 224, 224"):
        I3D()(torch.zeros(1, 3, 8, 224, 224))


@pytest.mark.usefixtures("fetched_networks")
def test_logits_are_those_of_the_published_network():
    if not network_path("i3d").is_file():
        pytest.skip(missing_network("i3d"))
    expected = torch.from_numpy(np.load(REFERENCE)["logits"])
    with torch.no_grad():
        found = load_i3d()(torch.as_tensor(formula_clip(2, 16, 224, 224, 5)).float())
    assert (found - expected).norm() / expected.norm() < 2e-5
