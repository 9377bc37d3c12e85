"""The faster convolution of small clips is the same convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from workbench.devices import laid_out
from workbench.models import convolution
from workbench.models.convolution import conv3d


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("padding", [(1, 1, 1), (0, 1, 1)])
def test_values_gradients_and_operations_are_those_of_torch(monkeypatch, stride, padding):
    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*size, generator=random) for size in ((1, 6, 5, 16, 18), (8, 6, 3, 3, 3)))
    bias = torch.randn(8, generator=random)
    taken = []
    fast = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: taken.append(1) or fast(*given))
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    with FlopCounterMode(display=False) as counted:
        found = conv3d(*inputs, stride, padding)
    with FlopCounterMode(display=False) as expected_count:
        plain = F.conv3d(*inputs, stride, padding)
    if convolution._has_onednn():
        assert taken
    assert counted.get_total_flops() == expected_count.get_total_flops() > 0
    exact = F.conv3d(*(tensor.detach().double() for tensor in inputs), stride, padding)
    bound = 4 * (plain.double() - exact).abs().max() + 1e-5  # rounding of sums of 162 products of about 1
    assert (found.double() - exact).abs().max() < bound
    for ours, theirs in zip(
        torch.autograd.grad(found.square().mean(), inputs),
        torch.autograd.grad(plain.square().mean(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_autocast_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(torch, "mkldnn_convolution", None)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv3d(torch.zeros(1, 4, 4, 8, 8), torch.zeros(4, 4, 3, 3, 3), None, (1, 1, 1), (1, 1, 1))
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "dtype", "device"),
    [
        ((2, 4, 4, 8, 8), torch.float32, "cpu"),
        ((1, 4, 4, 8, 8), torch.float64, "cpu"),
        ((1, 4, 4, 8, 8), torch.float32, "meta"),
    ],
)
def test_the_rest_is_left_to_torch(monkeypatch, shape, dtype, device):
    monkeypatch.setattr(torch, "mkldnn_convolution", None)
    x, weight = torch.zeros(shape, dtype=dtype, device=device), torch.zeros(4, 4, 3, 3, 3, dtype=dtype, device=device)
    assert conv3d(x, weight, None, (1, 1, 1), (1, 1, 1)).shape == x.shape


def test_a_convolution_in_groups_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(torch, "mkldnn_convolution", None)
    x, weight = torch.zeros(1, 4, 4, 8, 8), torch.zeros(4, 1, 3, 3, 3)
    assert conv3d(x, weight, None, (1, 1, 1), (1, 1, 1), groups=4).shape == x.shape


@pytest.mark.parametrize("groups", [1, 4])
def test_the_activation_and_any_layout_are_the_same_function(groups):
    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*size, generator=random) for size in ((2, 4, 3, 8, 8), (8, 4 // groups, 3, 3, 3)))
    bias = torch.randn(8, generator=random)
    expected = F.silu(F.conv3d(x, weight, bias, padding=1, groups=groups))
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        found = conv3d(x.contiguous(memory_format=layout), weight, bias, (1, 1, 1), (1, 1, 1), groups, silu=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_layouts_change_no_weight_and_come_back_and_leave_those_of_single_channels():
    """Also 1x1x1 kernels, whose two layouts differ in strides alone: convolutions choose theirs by them."""
    layers = torch.nn.Sequential(
        torch.nn.Conv3d(4, 8, 3), torch.nn.Conv3d(8, 8, 1), torch.nn.Conv3d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 8, 3)
    )
    plain = [(parameter.detach().clone(), parameter.stride()) for parameter in layers.parameters()]
    laid_out(layers, torch.channels_last_3d)
    weights = [layer.weight for layer in layers]
    assert [weight.stride()[1] for weight in weights[:2]] == [1, 1]
    assert [weight.stride() for weight in weights[2:]] == [plain[4][1], plain[6][1]]
    laid_out(layers, torch.contiguous_format)
    for parameter, (values, strides) in zip(layers.parameters(), plain, strict=True):
        assert parameter.stride() == strides
        assert torch.equal(parameter, values)
