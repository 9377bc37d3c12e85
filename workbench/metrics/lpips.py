"""Learned perceptual image patch similarity, and its network for use as a training loss.

The network that measures and trains is the one below. The authors' package `lpips` brings the weights of its heads, and
is what tests hold it against; it is never imported here, and torchvision not with it.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import check_choice
from workbench.devices import laid_out
from workbench.errors import WeightsError, first_line
from workbench.metrics.frames import check_pair, undefined, unit_chunks
from workbench.metrics.networks import features_of, fill, network_path, read_network

# Convolutions (channels, kernel, stride, padding) and poolings (kernel, stride) in the order of torchvision's
# `features`; "tap" follows the layers whose activations count. Simonyan and Zisserman 2015; Krizhevsky 2014.
_POOL_VGG, _POOL_ALEX = ("pool", 2, 2), ("pool", 3, 2)
_VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_PLANS = {
    "vgg": [
        step
        for index, (channels, count) in enumerate(_VGG_BLOCKS)
        for step in [*[_POOL_VGG] * (index > 0), *[(channels, 3, 1, 1)] * count, "tap"]
    ],
    "alex": [
        *((64, 11, 4, 2), "tap", _POOL_ALEX, (192, 5, 1, 2), "tap", _POOL_ALEX),
        *((384, 3, 1, 1), "tap", (256, 3, 1, 1), "tap", (256, 3, 1, 1), "tap"),
    ],
}
BACKBONES = {"vgg": "VGG-16", "alex": "AlexNet"}
"""The networks that LPIPS is published with and that are offered here, by the names of its authors' package."""

_MIN_SIDE = {"vgg": 16, "alex": 31}  # pixels below which a pooling has no window left
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, in [-1, 1]
_OFFICIAL_VGG = "vgg16-397923af.pth"  # torchvision's VGG16_Weights.IMAGENET1K_V1, which many machines have already


class LPIPS(nn.Module):
    """LPIPS, version 0.1: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    CVPR 2018. Distances of unit-length features of an ImageNet network, weighted by channel and averaged over space.

    Attributes:
        backbone: a key of `BACKBONES`.
        spatial: whether `forward` gives a map, each layer's distances enlarged bilinearly to the size of the frames, as
            the authors' package does with `spatial=True`. Its mean differs a little from the plain value.
        every: as a metric of a clip (`lpips`), only every n-th frame is measured.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str = "vgg", spatial: bool = False, every: int = 1) -> None:
        super().__init__()
        self.backbone, self.spatial, self.every = backbone, spatial, every
        self.layers, self._taps, channels = _layers(_PLANS[backbone])
        self.heads = nn.ParameterList(torch.ones(count) for count in channels)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Unit-length features of frames (B, 3, H, W) in [-1, 1]: one (B, C, h, w) a layer that counts."""
        x = (x - self.shift) / self.scale
        taken = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self._taps:
                taken.append(_unit_length(x))
        return taken

    def distance(self, a: list[Tensor], b: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Distances (B, 1, 1, 1) of features of frames of this (H, W); (B, 1, H, W) where `spatial`."""
        layers = []
        for x, y, head in zip(a, b, self.heads, strict=True):
            weighted = F.conv2d((x - y).square(), head.view(1, -1, 1, 1))
            if self.spatial:
                layers.append(F.interpolate(weighted, size, mode="bilinear"))
            else:
                layers.append(weighted.mean((2, 3), keepdim=True))
        return sum(layers[1:], layers[0])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances of frames (B, 3, H, W) in [-1, 1], sides of 16 (VGG-16) or 31 (AlexNet) pixels or more.

        Gradients flow to both inputs, so that it serves as a loss.
        """
        return self.distance(self.features(x), self.features(y), (x.shape[2], x.shape[3]))

    @property
    def min_side(self) -> int:
        """The fewest pixels of a side that the backbone takes."""
        return _MIN_SIDE[self.backbone]


def lpips_available(backbone: str = "vgg") -> bool:
    """Whether `load_lpips` finds the weights."""
    return network_path(f"lpips_{backbone}").is_file() or (backbone == "vgg" and _official_vgg().is_file())


def load_lpips(
    device: str | torch.device = "cpu",
    random_backbone: bool = False,
    backbone: str = "vgg",
    spatial: bool = False,
    every: int = 1,
) -> LPIPS:
    """The network, frozen and in eval mode; nothing is ever downloaded here.

    Args:
        random_backbone: fixed random convolutions instead of the trained ones: for tests of code around the network
            only, its values mean nothing.
        backbone, spatial, every: see `LPIPS`.

    Raises:
        WeightsError: the weights are not here (`python -m workbench fetch lpips`), or not those of the network.
    """
    check_choice("backbone", backbone, BACKBONES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LPIPS(backbone, spatial, every)
    state = network.layers.state_dict() if random_backbone else _read_backbone(backbone)
    path = network_path(f"lpips_{backbone}")
    fill(network, {f"layers.{name}": tensor for name, tensor in state.items()} | _read_heads(backbone), path)
    return laid_out(network.to(device), torch.channels_last)


def usual_every(device: torch.device) -> int:
    """Of how many frames LPIPS takes one where nobody says: all on a GPU, every eighth on a CPU, where VGG-16 is fifty
    times as slow as a small autoencoder. Neighbouring frames differ little in what was lost."""
    return 1 if device.type == "cuda" else 8


def load_lpips_if_available(device: str | torch.device = "cpu", every: int = 1) -> LPIPS | None:
    """`load_lpips` (VGG-16) where its weights are here, else None: for measurements that go on without, saying so."""
    return load_lpips(device, every=every) if lpips_available() else None


def lpips(x: Tensor, y: Tensor, data_range: float, network: LPIPS, first: int = 0) -> Tensor:
    """LPIPS of every frame: 0 for identical frames, about 0.7 for unrelated ones.

    NaN with a side under `network.min_side`, and where `network.every` leaves a frame out.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].
        network: what `load_lpips` returns; frames are moved to its device.
        first: number of the first frame in the clip that these are a part of.

    Returns:
        float32 (T,) on the device of x.
    """
    check_pair(x, y)
    values = undefined(len(x))
    start = -first % network.every
    if min(x.shape[2:]) >= network.min_side and start < len(x):
        taken = slice(start, None, network.every)
        device = network.shift.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            chunks = unit_chunks(x[taken], y[taken], data_range)
            found = [network(2 * a.to(device) - 1, 2 * b.to(device) - 1).mean((1, 2, 3)) for a, b in chunks]
        values[taken] = torch.cat(found).cpu()
    return values.to(x.device)


def _layers(plan: list) -> tuple[nn.Sequential, frozenset[int], list[int]]:
    """Layers numbered as torchvision's `features`, which of them count, and their channels."""
    layers: list[nn.Module] = []
    taps, channels, now = [], [], 3
    for step in plan:
        if step == "tap":
            taps.append(len(layers) - 1)
            channels.append(now)
        elif step[0] == "pool":
            layers.append(nn.MaxPool2d(*step[1:]))
        else:
            layers += [nn.Conv2d(now, step[0], *step[1:]), nn.ReLU()]
            now = step[0]
    return nn.Sequential(*layers), frozenset(taps), channels


def _unit_length(x: Tensor) -> Tensor:
    """Divided by the norm over channels. Where all are 0 the root's gradient would be infinite: the clamp makes it 0,
    and changes no value."""
    return x / (x.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt() + 1e-10)


def _read_backbone(backbone: str) -> dict[str, Tensor]:
    """The convolutions by their number: the fetched file, else the whole VGG-16 of torch's hub cache."""
    if network_path(f"lpips_{backbone}").is_file() or backbone != "vgg" or not _official_vgg().is_file():
        return read_network(f"lpips_{backbone}")
    path = _official_vgg()
    try:
        return features_of(path)
    except Exception as error:
        raise WeightsError(f"{path}: not the weights of VGG-16 that LPIPS needs ({first_line(error)})") from None


def _official_vgg() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _OFFICIAL_VGG


def _read_heads(backbone: str) -> dict[str, Tensor]:
    """The weights of the channels: a few kilobytes that the authors' package `lpips` brings; it is not imported."""
    package = importlib.util.find_spec("lpips")
    if package is None or package.origin is None:
        raise WeightsError("LPIPS: the package `lpips`, which holds its linear heads, is missing: pip install lpips")
    path = Path(package.origin).parent / "weights" / "v0.1" / f"{backbone}.pth"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {f"heads.{index}": state[f"lin{index}.model.1.weight"].flatten() for index in range(5)}
    except Exception as error:
        raise WeightsError(f"{path}: not the linear heads of LPIPS ({first_line(error)})") from None
