"""A vision network by the name that a user gives it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from workbench.errors import WeightsError
from workbench.metrics.lpips import load_lpips
from workbench.models.weights import locate_weights
from workbench.vision.base import VisionNetwork
from workbench.vision.dinov2 import DINOv2, load_dinov2, sizes_of_file, sizes_of_name
from workbench.vision.vgg import VGGFeatures

_HUB = "https://dl.fbaipublicfiles.com/dinov2"
_OF_HUB = tuple(f"dinov2_vit{size}14{registers}" for size in "sbl" for registers in ("", "_reg"))


def load_vision(source: str, device: str | torch.device = "cpu") -> VisionNetwork:
    """The network, frozen, in float32.

    Args:
        source: dinov2_vitb14 and the like as torch.hub names them, a file or folder of DINOv2's weights, org/repo/file
            on the Hub, or vgg.

    Raises:
        WeightsError: its weights are not here, and cannot be had from the Hub; or they are of another network.
    """
    network: VisionNetwork = VGGFeatures(load_lpips()) if source == "vgg" else load_dinov2(_file(source))
    network.source = source
    return network.to(device)


def vision_layers(source: str) -> Callable[[], VisionNetwork]:
    """What builds the layers of the network that `load_vision` takes, without its weights: for counting what it costs.
    A published network's name tells them, so that its file need not be here.

    Raises:
        WeightsError: the name tells nothing, and no file of that name is here.
    """
    if source == "vgg":
        network = VGGFeatures(load_lpips(random_backbone=True))
        return lambda: network
    sizes = None if Path(source).expanduser().exists() else sizes_of_name(source)
    known = sizes or sizes_of_file(_file(source))
    return lambda: DINOv2(**asdict(known)).requires_grad_(False)


def _file(source: str) -> Path:
    if source in _OF_HUB:
        return _of_torch_hub(source)
    try:
        return locate_weights(source)
    except WeightsError as error:
        fetch = f"; with a network, python -m workbench fetch {source} brings it" if source.count("/") >= 2 else ""
        raise WeightsError(f"{error}{fetch}") from None


def _of_torch_hub(name: str) -> Path:
    """Where torch.hub keeps the weights of one of its DINOv2 models; its code, which it would run, is not asked."""
    plain = name.removesuffix("_reg")
    file = f"{plain}{'_reg4' if name != plain else ''}_pretrain.pth"
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        fetch = f"import torch; torch.hub.load_state_dict_from_url('{_HUB}/{plain}/{file}')"
        raise WeightsError(f'{path}: no such file; with a network, python -c "{fetch}" brings it')
    return path
