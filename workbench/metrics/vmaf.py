"""Video multimethod assessment fusion, by a library that is kept up."""

import importlib.util
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from workbench.errors import ConfigError

_LUMA = (0.299, 0.587, 0.114)
_MIN_SIDE = 64  # pixels; the library halves four times and pads by reflection


def require_vmaf() -> None:
    """Raise ConfigError, saying how to install it, unless the library is there."""
    if importlib.util.find_spec("vmaf_torch") is None:
        raise ConfigError("`vmaf` needs the package vmaf-torch: pip install vmaf-torch")


class Vmaf:
    """VMAF v0.6.1 by vmaf-torch: Netflix, github.com/Netflix/vmaf. 0 to 100, about 97 for identical frames without
    motion.

    On luma of limited range, rounded to 8 bits, by BT.601's matrix: what FFmpeg makes of RGB frames.
    """

    def __init__(self, device: str | torch.device = "cpu", every: int = 1) -> None:
        """Measure every n-th frame.

        Raises:
            ConfigError: the library is not installed.
        """
        require_vmaf()
        from vmaf_torch import VMAF

        self._network = VMAF(clip_score=True).to(device).eval()
        self._device, self.every = torch.device(device), every

    def frames(self, original: Tensor) -> int:
        """How many frames of a clip are measured."""
        return 0 if min(original.shape[2:]) < _MIN_SIDE else -(-len(original) // self.every)

    @torch.no_grad()
    def against(self, original: Tensor, output: Tensor) -> Iterator[tuple[int, float]]:
        """A frame's number and its VMAF, of uint8 (T, 3, H, W). The motion is that between the original's neighbouring
        frames, whether or not they are measured."""
        if not self.frames(original):
            return
        motion = self._motion(original)
        for number in range(0, len(original), self.every):
            x, y = (luma(clip[number : number + 1].to(self._device)) for clip in (original, output))
            adm, vif = self._network.compute_adm_score(x, y), self._network.compute_vif_features(x, y)
            yield number, self._network.predict(adm, motion[number : number + 1], vif).item()

    def values(self, original: Tensor, output: Tensor) -> list[float]:
        """One value for every frame, NaN where it is left out or the frames are too small."""
        found = [math.nan] * len(original)
        for number, value in self.against(original, output):
            found[number] = value
        return found

    def _motion(self, original: Tensor) -> Tensor:
        """Motion (T, 1): of the two changes that a frame has with its neighbours, the smaller."""
        if len(original) == 1:
            return torch.zeros(1, 1, device=self._device)
        return self._network.compute_motion2(luma(original.to(self._device)))


def luma(frames: Tensor) -> Tensor:
    """Luma (T, 1, H, W) in [16, 235], whole numbers, of uint8 RGB (T, 3, H, W)."""
    weights = torch.tensor(_LUMA, device=frames.device).view(1, 3, 1, 1)
    return (16 + 219 / 255 * (frames.float() * weights).sum(1, keepdim=True)).round()
