"""Generation loss: what is left of a clip that is encoded and decoded again and again, as editing tools do it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.metrics.psnr import pooled_psnr
from workbench.models.base import Autoencoder
from workbench.roundtrip.clip import round_trip_steps
from workbench.steps import Progress, Steps, drain
from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class Round:
    """After so many rounds, against the original.

    Attributes:
        psnr: dB of the whole clip.
        contrast: how many times larger the deviation of all values is; 1 is as it was.
        red, green, blue: what each colour's mean has gained, in grey levels.
    """

    number: int
    psnr: float
    contrast: float
    red: float
    green: float
    blue: float


def rounds_steps(ae: Autoencoder, frames_TCHW: Tensor, count: int, tiling: Tiling) -> Steps[list[Round]]:
    """Encode and decode a clip, uint8 (T, 3, H, W), so many times; between rounds it is 8 bits, as in a file.

    Raises:
        ConfigError: a tile size is not legal.
    """
    original, x, found = frames_TCHW.float(), frames_TCHW, []
    for number in range(1, count + 1):
        _, y, *_ = drain(round_trip_steps(ae, x, tiling))
        grey = ((y[0].transpose(0, 1).float().cpu() + 1.0) * 127.5).nan_to_num(0.0)
        x = grey.round().clamp(0, 255).to(torch.uint8)
        found.append(_round(number, original, x.float()))
        yield Progress("generation loss", number, count)
    return found


def _round(number: int, x: Tensor, y: Tensor) -> Round:
    shift = (y - x).mean((0, 2, 3)).tolist()
    contrast = (y.std() / x.std()).item()
    return Round(number, pooled_psnr(x, y, 255.0).item(), contrast, *shift)
