"""Learned perceptual image patch similarity, and its network for use as a training loss."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.errors import WeightsError, first_line
from workbench.metrics.frames import check_pair, undefined, unit_chunks

# The file of torchvision's VGG16_Weights.IMAGENET1K_V1, on which the published linear heads were calibrated.
_BACKBONE_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_MIN_SIDE = 16  # four poolings by two


def lpips_backbone_path() -> Path:
    """Where the ImageNet weights of VGG-16 are looked for: torch's hub cache, as torchvision itself does."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE_URL.rsplit("/", 1)[1]


def lpips_available() -> bool:
    """Whether `load_lpips` finds the backbone without a download."""
    return lpips_backbone_path().is_file()


def load_lpips(device: str | torch.device = "cpu", random_backbone: bool = False) -> nn.Module:
    """LPIPS (VGG-16, version 0.1): Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018.

    Args:
        random_backbone: a fixed random VGG-16 instead of the trained one: for tests of code around the network only,
            its values mean nothing.

    Returns:
        A frozen module in eval mode: (B, 3, H, W) and (B, 3, H, W) in [-1, 1], sides of 16 pixels or more, to distances
        (B, 1, 1, 1). Gradients flow to both inputs, so it serves as a loss; keep it in eval mode (it has dropout).

    Raises:
        WeightsError: the backbone is not in torch's hub cache (nothing is ever downloaded here), or is not VGG-16.
    """
    backbone = None if random_backbone else _read_backbone(lpips_backbone_path())
    network = _build(backbone)
    return network.eval().requires_grad_(False).to(device)


def load_lpips_if_available(device: str | torch.device = "cpu") -> nn.Module | None:
    """`load_lpips` where its backbone is installed, else None: for measurements that go on without it, saying so."""
    return load_lpips(device) if lpips_available() else None


def lpips(x: Tensor, y: Tensor, data_range: float, network: nn.Module) -> Tensor:
    """LPIPS of every frame: 0 for identical frames, about 0.7 for unrelated ones. NaN with a side under 16 pixels.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].
        network: what `load_lpips` returns; frames are moved to its device.

    Returns:
        float32 (T,) on the device of x.
    """
    check_pair(x, y)
    if min(x.shape[2:]) < _MIN_SIDE:
        return undefined(len(x)).to(x.device)
    device = next(network.buffers()).device
    with torch.no_grad():
        chunks = unit_chunks(x, y, data_range)
        pairs = (pair for a, b in chunks for pair in zip(a.to(device).split(1), b.to(device).split(1), strict=True))
        values = [network(a, b, normalize=True).flatten() for a, b in pairs]  # normalize: from [0, 1] to [-1, 1]
    return torch.cat(values).float().to(x.device)


def _read_backbone(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"LPIPS needs the ImageNet weights of VGG-16, missing at {path}: put {_BACKBONE_URL} there, "
            "or go on without LPIPS"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load has no error of its own for a file that is not a checkpoint
        reason = first_line(error)
        raise WeightsError(f"{path} cannot be read as the weights of VGG-16 that LPIPS needs: {reason}") from None


def _build(backbone: dict[str, Tensor] | None) -> nn.Module:
    import workbench.torchvision_shim  # noqa: F401, I001  (must precede lpips, which imports torchvision)
    import lpips as package

    # Initialised at random from a fixed seed first, because lpips itself would download a missing backbone and would
    # unpickle it without restriction. The caller's random state is left as it was.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by deprecated arguments
        torch.manual_seed(0)
        network = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    if backbone is not None:
        _load_backbone(network.net, backbone)
    return network


def _load_backbone(net: nn.Module, backbone: dict[str, Tensor]) -> None:
    """Fill lpips' VGG-16, whose layers "sliceK.N" are torchvision's "features.N"."""
    try:
        net.load_state_dict({name: backbone["features." + name.split(".", 1)[1]] for name in net.state_dict()})
    except (KeyError, TypeError, RuntimeError) as error:
        reason = first_line(error)
        raise WeightsError(f"{lpips_backbone_path()} does not hold the layers of VGG-16: {reason}") from None
