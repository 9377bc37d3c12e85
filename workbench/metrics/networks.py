"""Where the weights of the networks that measure are kept. `python -m workbench fetch` brings them there."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.errors import WeightsError, first_line

NETWORKS = {"lpips_vgg": "lpips", "lpips_alex": "lpips", "i3d": "fvd"}
"""What is kept, and the argument of `fetch` that brings it."""


def networks_folder() -> Path:
    """A folder beside torch's own downloads: TORCH_HOME moves both."""
    return Path(torch.hub.get_dir()) / "video_autoencoder_workbench"


def network_path(name: str) -> Path:
    """Where the weights of one of `NETWORKS` are looked for."""
    return networks_folder() / f"{name}.safetensors"


def missing_network(name: str) -> str:
    """That a network is not here, and what brings it, as the end of a sentence."""
    return f"its network is not here; python -m workbench fetch {NETWORKS[name]} brings it"


def read_network(name: str) -> dict[str, Tensor]:
    """The tensors of one of `NETWORKS`.

    Raises:
        WeightsError: they are not here, or the file is damaged.
    """
    path = network_path(name)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; python -m workbench fetch {NETWORKS[name]} brings it")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        remedy = f"remove it, and python -m workbench fetch {NETWORKS[name]} brings it again"
        raise WeightsError(f"{path}: cannot be read ({first_line(error)}); {remedy}") from None


def features_of(path: Path) -> dict[str, Tensor]:
    """Of the file of a whole network of torchvision the layers of its `features`, by their numbers, still on disk.

    Raises:
        Exception: torch.load has no error of its own for what it does not read.
    """
    state, prefix = torch.load(path, map_location="cpu", weights_only=True, mmap=True), "features."
    return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}


def fill(network: nn.Module, state: dict[str, Tensor], source: Path) -> nn.Module:
    """Put weights into a network that has just these layers; it is frozen and in eval mode afterwards.

    Raises:
        WeightsError: names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{source}: does not hold the layers of {type(network).__name__}: {_reason(error)}"
        ) from None
    return network.eval().requires_grad_(False)


def _reason(error: Exception) -> str:
    """Torch names what differs from the second line on."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[1:2] or lines)[:200]
