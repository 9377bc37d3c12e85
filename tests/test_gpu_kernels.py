"""The kernels for what the Video DC-AE does between its convolutions, against float64: on CUDA, or slowly on any CPU.

`TRITON_INTERPRET=1 python -m pytest -m gpu tests/test_gpu_kernels.py` runs them by Triton's interpreter.
"""

import contextlib
import os
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from reference_weights import relative_error
from small_models import small_model
from torch import Tensor

from workbench.counting import Counter
from workbench.devices import laid_out
from workbench.models import convolution, dc_blocks
from workbench.models.convolution import has_kernels
from workbench.models.dc_blocks import Conv3d, RMSNorm

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
DEVICE = "cpu" if IS_INTERPRETED else "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not IS_INTERPRETED and not (torch.cuda.is_available() and has_kernels()),
        reason="needs Triton, and a CUDA device or TRITON_INTERPRET=1",
    ),
]
BOUNDS = {torch.float32: 1e-6, torch.bfloat16: 4e-3}
"""Of the norm of a result: float32 rounds sums of up to 1024 terms, bfloat16 keeps 8 bits of each value."""


@pytest.fixture(autouse=True)
def kernels_are_used(monkeypatch) -> None:
    """On a CPU as on a GPU, but for the float64 results that they are held against."""
    if not IS_INTERPRETED:
        return

    def can_fuse(x: Tensor) -> bool:
        lies_so = x.is_contiguous(memory_format=torch.channels_last_3d)
        return lies_so and x.dtype != torch.float64 and not torch.is_grad_enabled()

    for module in (convolution, dc_blocks):
        monkeypatch.setattr(module, "can_fuse", can_fuse)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())


@pytest.fixture(params=list(BOUNDS), ids=str)
def dtype(request) -> torch.dtype:
    return request.param


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_gpu(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last_3d)


def assert_near(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    assert relative_error(found.double().cpu(), expected) < BOUNDS[dtype]


@pytest.mark.parametrize("channels", [96, 128, 1024])
@pytest.mark.parametrize("adds", [False, True])
def test_norm_and_shortcut(channels, adds, dtype):
    x, shortcut = (random(2, channels, 3, 7, 9, seed=seed).to(dtype).double() for seed in (0, 1))
    norm = RMSNorm(channels).double()
    torch.nn.init.normal_(norm.weight)
    norm = norm.to(dtype)
    with torch.inference_mode():
        expected = norm.double()(x.clone(), shortcut if adds else None)
        found = norm.to(DEVICE, dtype)(on_gpu(x, dtype), on_gpu(shortcut, dtype) if adds else None)
    assert_near(found, expected, dtype)


@pytest.mark.parametrize("channels", [64, 130])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_of_single_channels(channels, kernel, bias, dtype):
    x = random(2, channels, 5, 3, 19).to(dtype).double()
    conv = Conv3d(channels, channels, kernel, groups=channels, bias=bias).to(dtype)
    with torch.inference_mode():
        for run in ("forward", "valid"):
            expected = getattr(conv.cpu().double(), run)(x)
            assert_near(getattr(conv.to(DEVICE, dtype), run)(on_gpu(x, dtype)), expected, dtype)


def test_their_operations_are_counted():
    x = random(1, 64, 2, 3, 4)
    conv = Conv3d(64, 64, 3, groups=64)
    with torch.no_grad(), Counter() as plain:
        conv.double()(x)
    with torch.no_grad(), Counter() as fused:
        conv.to(DEVICE, torch.float32)(on_gpu(x, torch.float32))
    assert fused.operations == plain.operations == 2 * 64 * 2 * 3 * 4 * 27


def test_bias_and_activation(dtype):
    x = random(1, 32, 4, 9, 7).to(dtype).double()
    conv = Conv3d(32, 48, 3).to(dtype)
    torch.nn.init.normal_(conv.bias)
    with torch.inference_mode():
        expected = F.silu(conv.double()(x))
        found = laid_out(conv.to(DEVICE, dtype), torch.channels_last_3d)(on_gpu(x, dtype), silu=True)
    assert_near(found, expected, dtype)


def test_the_model_by_kernels_is_the_model(dtype):
    ae = small_model("video_dc_ae")
    x = random(1, 3, 16, 64, 96).clamp(-1, 1)
    with torch.inference_mode():
        z = ae.double().encode(x)
        y = ae.decode(z, 16, (64, 96))
        ae = laid_out(ae.to(DEVICE, dtype), ae.gpu_layout)
        bound = 1e-5 if dtype == torch.float32 else 5e-2  # tens of layers
        assert relative_error(ae.encode(x.to(DEVICE, dtype)).double().cpu(), z) < bound
        assert relative_error(ae.decode(z.to(DEVICE, dtype), 16, (64, 96)).double().cpu(), y) < bound
