"""I3D, the network whose 400 logits the Fréchet video distance is taken of."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.devices import laid_out
from workbench.errors import ShapeError
from workbench.metrics.networks import fill, network_path, read_network

SIDE = 224
"""Pixels of a side of the frames that it was trained on."""

MIN_FRAMES = 9
"""Fewer frames leave nothing to average over in time."""

_INCEPTIONS = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels that come in, of the plain branch, of the two branches of two convolutions, and of the pooled branch."""


class Unit(nn.Conv3d):
    """A convolution with TensorFlow's SAME padding and a ReLU; its batch norm is folded into weight and bias."""

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(same_padding(x, self.kernel_size, self.stride)))


class Pool(nn.Module):
    """Maximum pooling with SAME padding. Zeros serve as padding: what comes in was cut off at 0."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(same_padding(x, self.kernel, self.stride), self.kernel, self.stride)


class Inception(nn.Module):
    """Four branches side by side: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, inflated in time."""

    def __init__(self, before: int, plain: int, a: int, a_out: int, b: int, b_out: int, pooled: int) -> None:
        super().__init__()
        self.Branch_0 = _named(Conv3d_0a_1x1=Unit(before, plain, 1))
        self.Branch_1 = _named(Conv3d_0a_1x1=Unit(before, a, 1), Conv3d_0b_3x3=Unit(a, a_out, 3))
        self.Branch_2 = _named(Conv3d_0a_1x1=Unit(before, b, 1), Conv3d_0b_3x3=Unit(b, b_out, 3))
        self.Branch_3 = _named(pool=Pool((3, 3, 3), (1, 1, 1)), Conv3d_0b_1x1=Unit(before, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class I3D(nn.Module):
    """Inflated 3D Inception, RGB, 400 classes of Kinetics: Carreira and Zisserman, "Quo Vadis, Action Recognition?",
    CVPR 2017. Parts have the names of the authors' code (github.com/google-deepmind/kinetics-i3d)."""

    def __init__(self) -> None:
        super().__init__()
        mixed = {name: Inception(*channels) for name, channels in _INCEPTIONS.items()}
        self.layers = _named(
            Conv3d_1a_7x7=Unit(3, 64, 7, 2),
            MaxPool3d_2a_3x3=Pool((1, 3, 3), (1, 2, 2)),
            Conv3d_2b_1x1=Unit(64, 64, 1),
            Conv3d_2c_3x3=Unit(64, 192, 3),
            MaxPool3d_3a_3x3=Pool((1, 3, 3), (1, 2, 2)),
            **{name: mixed[name] for name in ("Mixed_3b", "Mixed_3c")},
            MaxPool3d_4a_3x3=Pool((3, 3, 3), (2, 2, 2)),
            **{name: mixed[name] for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f")},
            MaxPool3d_5a_2x2=Pool((2, 2, 2), (2, 2, 2)),
            **{name: mixed[name] for name in ("Mixed_5b", "Mixed_5c")},
        )
        self.Logits = _named(Conv3d_0c_1x1=nn.Conv3d(1024, 400, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, 224, 224) in [-1, 1], 9 frames or more, to the logits (B, 400), averaged over time.

        Raises:
            ShapeError: the clips have another size.
        """
        if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] < MIN_FRAMES or tuple(x.shape[3:]) != (SIDE, SIDE):
            raise ShapeError(f"I3D takes clips (B, 3, {MIN_FRAMES} or more, {SIDE}, {SIDE}), got {tuple(x.shape)}")
        pooled = F.avg_pool3d(self.layers(x), (2, 7, 7), stride=1)
        return self.Logits(pooled).mean((2, 3, 4))


def load_i3d(device: str | torch.device = "cpu") -> I3D:
    """The network with its published weights, frozen.

    Raises:
        WeightsError: they are not here (`python -m workbench fetch fvd`), or damaged.
    """
    network = I3D()
    fill(network, read_network("i3d"), network_path("i3d"))
    return laid_out(network.to(device), torch.channels_last_3d)  # three times faster on a CPU


def same_padding(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """TensorFlow's SAME: ceil(size / stride) outputs, the odd one of the zeros that this needs at the end."""
    margins: list[int] = []
    for size, k, s in zip(x.shape[4:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        margins += [total // 2, total - total // 2]
    return F.pad(x, margins) if any(margins) else x


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
