"""A block DCT whose blocks keep the frequencies that suit them, scaled to about unit variance.

Classified zonal coding: Chen and Smith, "Adaptive Coding of Monochrome and Color Images", IEEE Transactions on
Communications, 1977. A still block spends its numbers on detail, a moving one on changes in time, one with stripes on
frequencies across them. Two numbers of every block say which frequencies its others are.
"""

from functools import cache
from itertools import product, starmap

import torch
from torch import Tensor, nn

from workbench.models.dct import Frequency, frequency_basis, from_coefficients, to_coefficients

_SIDE, _FRAMES = 32, 4
_HIGHEST = 20
"""Frequencies over height and width that are looked at: no set reaches that far."""

_CHANNELS = 128
_KEPT = _CHANNELS - 2
_COLOUR_DEVIATION = (4.5, 1.65, 0.98)
_POWER = -0.63

MOTION = (1e9, 32.0, 4.0, 0.5)
"""What the square of a frequency in time counts beside those in space: the less, the more of them a block keeps."""

STRIPES = (0.3, 1.0, 3.0)
"""What the square of a vertical frequency counts, and what that of a horizontal one is divided by."""

_FADE = Frequency(colour=0, time=1, vertical=0, horizontal=0)
"""All sets keep it: without it, still blocks would make steps of a scene that slowly grows darker."""

_PLAIN = 1
_PREFERENCE = (0.1 / 127.5) ** 2 * 3 * _FRAMES * _SIDE**2
"""The set of still blocks without stripes, and how much more energy another has to keep: that of a difference of 0.1
grey levels. Without it, rounding would choose for flat blocks."""


class AdaptiveTransform(nn.Module):
    """Blocks of 4 x 32 x 32 pixels as 128 numbers: 126 DCT coefficients, and two that say which of 12 sets they are.

    Coefficients are those of all sets together (U of them, over their usual standard deviation), latents those of the
    block's own set. A frequency that the plain set has is the same channel in all sets that have it too.

    Only the coefficients that all sets share mean the same in every block; the others and the two names go together:
    latents that are averaged, resized or turned name another set, or none. Names that are off by less than 0.44
    (motion, channel 126) and 0.61 (stripes, channel 127) are still read right.

    Attributes:
        deviation: about the standard deviation (1, U, 1, 1, 1) of each coefficient over natural video in [-1, 1].
        changes: bool, likewise, which coefficients are those of changes in time.
    """

    deviation: Tensor
    changes: Tensor
    basis: Tensor
    sets: Tensor
    members: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("cpu"):  # also where the weights around it are still on the meta device
            sets = frequency_sets()
            union = sorted({frequency for chosen in sets for frequency in chosen})
            place = {frequency: number for number, frequency in enumerate(union)}
            indices = torch.tensor([[place[frequency] for frequency in chosen] for chosen in sets])
            deviation = torch.tensor([usual_deviation(frequency) for frequency in union]).view(1, -1, 1, 1, 1)
            changes = torch.tensor([frequency.time > 0 for frequency in union]).view(1, -1, 1, 1, 1)
            members = torch.zeros(len(sets), len(union)).scatter(1, indices, 1.0)
            members *= ~members.bool().all(0)  # what all sets keep would hide how they differ
            for name, tensor in (
                ("basis", frequency_basis(union, _FRAMES, _SIDE)),
                ("deviation", deviation),
                ("changes", changes),
                ("sets", indices),
                ("members", members),
            ):
                self.register_buffer(name, tensor, persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Frames (B, 3, T, H, W) to coefficients (B, U, t, h, w)."""
        with _exactly(x):
            return to_coefficients(x, self.basis) / self.deviation

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, U, t, h, w) to frames (B, 3, T, H, W)."""
        with _exactly(coefficients):
            return from_coefficients(coefficients * self.deviation, self.basis)

    def choose(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, U, t, h, w) to latents (B, 128, t, h, w): each block's set is the one with most energy.

        Where two sets are equally good up to rounding, either may be named: the picture is as good with both.
        """
        with _exactly(coefficients):
            energies = (coefficients.float() * self.deviation.float()).square().movedim(1, -1) @ self.members.float().T
        energies[..., _PLAIN] += _PREFERENCE
        chosen = energies.argmax(-1)
        return torch.cat([coefficients.gather(1, self._indices(chosen)), _names(chosen).to(coefficients)], dim=1)

    def spread(self, z: Tensor) -> Tensor:
        """Latents (B, 128, t, h, w) to coefficients (B, U, t, h, w): zeros where a block's set has none."""
        coefficients = z.new_zeros(z.shape[0], self.deviation.numel(), *z.shape[2:])
        return coefficients.scatter(1, self._indices(_named(z[:, _KEPT:])), z[:, :_KEPT])

    def _indices(self, chosen: Tensor) -> Tensor:
        """Sets (B, t, h, w) to the coefficients (B, 126, t, h, w) that they are."""
        return self.sets.to(chosen.device)[chosen].movedim(-1, 1)  # which may be the meta device, to count


def _names(chosen: Tensor) -> Tensor:
    """Sets (B, t, h, w) as two numbers (B, 2, t, h, w) of mean 0 and variance 1 over all sets."""
    motion, stripes = chosen // len(STRIPES), chosen % len(STRIPES)
    return torch.stack([_level(motion, len(MOTION)), _level(stripes, len(STRIPES))], dim=1)


def _named(names: Tensor) -> Tensor:
    """The inverse, for numbers that are only near those."""
    motion, stripes = names.float().unbind(1)
    return len(STRIPES) * _number(motion, len(MOTION)) + _number(stripes, len(STRIPES))


def _level(number: Tensor, count: int) -> Tensor:
    return (number - (count - 1) / 2) / _deviation_of(count)


def _number(level: Tensor, count: int) -> Tensor:
    return (level * _deviation_of(count) + (count - 1) / 2).round().clamp(0, count - 1).long()


def _deviation_of(count: int) -> float:
    """The standard deviation of 0, 1, ..., count - 1."""
    return float(((count**2 - 1) / 12) ** 0.5)


def _exactly(x: Tensor) -> torch.autocast:
    """Without autocast, whose bfloat16 the transform would show; tensors on the meta device are only counted."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def usual_deviation(frequency: Frequency) -> float:
    """About the standard deviation of a coefficient over blocks of natural video in [-1, 1].

    A power law of the frequency (Field, "Relations between the statistics of natural images and the response
    properties of cortical cells", 1987), fitted to the project's training data.
    """
    squared = _squared(frequency, motion=32.0, stripes=1.0)
    return float(_FRAMES**0.5 * _COLOUR_DEVIATION[frequency.colour] * squared**_POWER)


def _squared(frequency: Frequency, motion: float, stripes: float) -> float:
    """The square by which coefficients become rare."""
    _, time, vertical, horizontal = frequency
    return 0.1 + stripes * vertical**2 + horizontal**2 / stripes + motion * time**2


@cache
def frequency_sets() -> tuple[tuple[Frequency, ...], ...]:
    """The frequencies of each set, `STRIPES` varying fastest: those of the largest usual deviation for it."""
    ranked = [_largest(motion, stripes) for motion in MOTION for stripes in STRIPES]
    return tuple(_in_order_of(chosen, ranked[_PLAIN]) for chosen in ranked)


def _largest(motion: float, stripes: float) -> list[Frequency]:
    """The 126 of the largest deviation, without torch, which may only be counting; alike on all machines.

    To nine digits, so that two that are equally rare stay in their order wherever they are computed.
    """

    def rarity(frequency: Frequency) -> float:
        scale = _COLOUR_DEVIATION[frequency.colour] ** (1 / _POWER)
        return 0.0 if frequency == _FADE else round(scale * _squared(frequency, motion, stripes), 9)

    grid = product(range(3), range(_FRAMES), range(_HIGHEST), range(_HIGHEST))
    return sorted(starmap(Frequency, grid), key=rarity)[:_KEPT]


def _in_order_of(chosen: list[Frequency], like: list[Frequency]) -> tuple[Frequency, ...]:
    """`chosen` with every frequency that `like` has at the same place there; the others fill the gaps in order."""
    left_over = iter([frequency for frequency in chosen if frequency not in set(like)])
    return tuple(frequency if frequency in set(chosen) else next(left_over) for frequency in like)
