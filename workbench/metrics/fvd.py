"""Fréchet video distance, with I3D as it was published or with a feature network that the user supplies."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import ConfigError, ShapeError, WeightsError, first_line
from workbench.files import quoted
from workbench.media.video import to_float
from workbench.metrics.i3d import SIDE, load_i3d

FVD_FRAMES = 16
"""Frames of a window, as published results mostly have it."""

# Arguments of the I3D network of StyleGAN-V (github.com/universome/stylegan-v), which most exports follow: it is given
# frames that are scaled already and asked for features.
_I3D_ARGUMENTS = {"rescale": False, "resize": False, "return_features": True}


class FeatureNetwork:
    """A TorchScript network from clips (B, 3, 16, 224, 224) in [-1, 1] to features (B, D).

    Attributes:
        identity: SHA-256 of its file: figures compare only under one network.
    """

    def __init__(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        """Load the file. TorchScript runs what the file says: take it from people you trust.

        Raises:
            ConfigError: there is no such file.
            WeightsError: it is not TorchScript.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise ConfigError(f"`fvd_network`: {quoted(path)} is no file; rFVD needs a TorchScript feature network")
        self.identity = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            self._network = torch.jit.load(path, map_location=device).eval()
        except RuntimeError as error:
            raise WeightsError(f"`fvd_network`: {quoted(path)} is not TorchScript ({first_line(error)})") from None
        self._device, self._path = torch.device(device), path
        known = {argument.name for argument in self._network.forward.schema.arguments}
        self._arguments = {name: value for name, value in _I3D_ARGUMENTS.items() if name in known}

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Features (n, D), float32 on the CPU, of the n = T // 16 windows of a clip; frames left over are not used.

        Frames are resized to 224 x 224 bilinearly, as in Unterthiner et al.'s own code.

        Args:
            frames: uint8 (T, 3, H, W).

        Raises:
            WeightsError: the network fails on a window, or does not return (1, D).
        """
        return _of_windows(frames, self._of_window)

    def _of_window(self, frames: Tensor) -> Tensor:
        try:
            features = self._network(_input(frames.to(self._device)), **self._arguments)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise WeightsError(f"`fvd_network`: {quoted(self._path)} does not take clips ({reason})") from None
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 1:
            raise WeightsError(f"`fvd_network`: {quoted(self._path)} does not return features (1, D) of a clip")
        return features.float().cpu()


class I3DFeatures:
    """The 400 logits of the I3D network that the Fréchet video distance was published with.

    Attributes:
        identity: names it among feature networks.
    """

    identity = "I3D, Kinetics-400, logits"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Raises WeightsError unless `python -m workbench fetch fvd` has brought the network."""
        self.network, self._device = load_i3d(device), torch.device(device)

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Features (n, 400) as in `FeatureNetwork.features`."""
        return _of_windows(frames, lambda window: self.network(_input(window.to(self._device))).float().cpu())


def _of_windows(frames: Tensor, features: Callable[[Tensor], Tensor]) -> Tensor:
    windows = frames.split(FVD_FRAMES)[: len(frames) // FVD_FRAMES]
    return torch.cat([features(window) for window in windows]) if windows else torch.zeros(0, 0)


def _input(frames: Tensor) -> Tensor:
    """A window (1, 3, 16, 224, 224) in [-1, 1], resized bilinearly, of uint8 (16, 3, H, W)."""
    return F.interpolate(to_float(frames), (SIDE, SIDE), mode="bilinear").transpose(0, 1)[None]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between the normals fitted to two sets of features (n, D) and (m, D), in float64.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) for covariances A, B: Unterthiner et al., "Towards Accurate
    Generative Models of Video", 2018; Heusel et al., 2017. The root's trace is taken from the eigenvalues of the
    symmetric A^(1/2) B A^(1/2), which are those of A B and never negative.

    Raises:
        ShapeError: the sets do not have the same number D of features, or one has not more than D members: its
            covariance would be singular, and the distance mostly a matter of their number.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(f"sets of features must be (n, D) and (m, D), got {tuple(a.shape)} and {tuple(b.shape)}")
    if min(len(a), len(b)) < fewest_windows(a):
        raise ShapeError(f"{a.shape[1]} features need {fewest_windows(a)} windows or more, got {min(len(a), len(b))}")
    return frechet_of_any(a, b)


def frechet_of_any(a: Tensor, b: Tensor) -> float:
    """`frechet_distance` without its demand on the number of members: for resampled sets, in which members recur."""
    (mean_a, cov_a), (mean_b, cov_b) = (_normal(values.double()) for values in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    trace = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return ((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace).item()


def fewest_windows(features: Tensor) -> int:
    """The fewest windows from which `frechet_distance` takes features (n, D): D + 1."""
    return features.shape[1] + 1


def _normal(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(0), torch.cov(values.T).reshape(values.shape[1], values.shape[1])
