"""The block DCT of the linear baseline, scaled to about unit variance."""

import math

import torch
from torch import Tensor, nn

from workbench.models.dct import (
    IMAGE_ZONE,
    VIDEO_ZONE,
    Frequency,
    frequencies,
    frequency_basis,
    from_coefficients,
    to_coefficients,
)

_SIDE = 32
_COLOUR_DEVIATION = (4.5, 1.65, 0.98)


class BlockTransform(nn.Module):
    """Blocks of `frames` x 32 x 32 pixels as the baseline's 128 DCT coefficients over their usual standard deviation.

    In the transform of images a coefficient has the channel that the same frequency has for clips; those that clips do
    not have fill the rest.

    Attributes:
        deviation: about the standard deviation (1, C, 1, 1, 1) of each coefficient over natural video in [-1, 1].
        changes: bool, likewise, which coefficients are those of changes in time.
    """

    deviation: Tensor
    changes: Tensor
    basis: Tensor

    def __init__(self, frames: int) -> None:
        super().__init__()
        with torch.device("cpu"):  # also where the weights around it are still on the meta device
            chosen = frequencies(VIDEO_ZONE)
            if frames == 1:
                chosen = _in_order_of(frequencies(IMAGE_ZONE), chosen)
            deviation = torch.tensor([usual_deviation(frequency, frames) for frequency in chosen]).view(1, -1, 1, 1, 1)
            changes = torch.tensor([frequency.time > 0 for frequency in chosen]).view(1, -1, 1, 1, 1)
            self.register_buffer("deviation", deviation, persistent=False)
            self.register_buffer("changes", changes, persistent=False)
            self.register_buffer("basis", frequency_basis(chosen, frames, _SIDE), persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Frames (B, 3, T, H, W) to coefficients (B, C, t, h, w)."""
        with _exactly(x):
            return to_coefficients(x, self.basis) / self.deviation

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, C, t, h, w) to frames (B, 3, T, H, W)."""
        with _exactly(coefficients):
            return from_coefficients(coefficients * self.deviation, self.basis)


def _exactly(x: Tensor) -> torch.autocast:
    """Without autocast, whose bfloat16 the transform would show; tensors on the meta device are only counted."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def usual_deviation(frequency: Frequency, frames: int) -> float:
    """About the standard deviation of a coefficient over blocks of natural video in [-1, 1].

    A power law of the frequency (Field, "Relations between the statistics of natural images and the response
    properties of cortical cells", 1987), fitted to the project's training data.
    """
    colour, time, vertical, horizontal = frequency
    squared = vertical**2 + horizontal**2 + 32 * time**2
    return math.sqrt(frames) * _COLOUR_DEVIATION[colour] * (0.1 + squared) ** -0.63


def _in_order_of(chosen: list[Frequency], like: list[Frequency]) -> list[Frequency]:
    """`chosen` with every frequency that `like` has at the same place there; the others fill the gaps in order."""
    left_over = iter([frequency for frequency in chosen if frequency not in set(like)])
    return [frequency if frequency in set(chosen) else next(left_over) for frequency in like]
