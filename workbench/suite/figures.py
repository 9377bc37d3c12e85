"""What shows each fault, as plain functions of a clip and what became of it.

Clips are x, the original, and y, the output: float (T, 3, H, W) in grey levels of 255, y not clamped.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.compare.seams import borders
from workbench.tiling import TilePlan

_PEAK = 255.0
_SHIFTS = (-2, -1, 0, 1, 2)


def grid_level(y: Tensor) -> float:
    """Of a constant colour: the energy that is not in the mean, as the root of its mean square in grey levels.

    By Parseval the energy of a frame's Fourier transform off its constant part; the worst frame and colour counts.
    """
    spectrum = torch.fft.fft2(y.double(), norm="ortho").abs().square()
    spectrum[..., 0, 0] = 0.0
    return (spectrum.sum((2, 3)) / y[0, 0].numel()).max().sqrt().item()


def border_ratio(x: Tensor, y: Tensor, cell: int) -> float:
    """How many times larger the error's jumps are across the borders of cells of so many pixels than elsewhere.

    About 1 where cells do not show; NaN where there is no error, or no border inside the frame.
    """
    rows, columns = _jumps(y - x)
    at = [torch.arange(1, len(jumps) + 1) % cell == 0 for jumps in (rows, columns)]
    return _ratio((rows, columns), at, [~marked for marked in at])


def seam_ratio(x: Tensor, y: Tensor, plan: TilePlan, cell: int) -> float:
    """The same at the borders of tiles over those at the other borders of cells: about 1 where tiles do not show.

    NaN where a frame is a single tile, or every border of cells is one of tiles.
    """
    jumps, at, others = _jumps(y - x), [], []
    for axis, steps in zip((plan.height, plan.width), jumps, strict=True):
        places = torch.arange(1, len(steps) + 1)
        at.append(torch.isin(places, torch.tensor(borders(axis), dtype=torch.int64)))
        others.append((places % cell == 0) & ~at[-1])
    return _ratio(jumps, at, others)


def _jumps(error: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute jumps of an error from each row, and from each column, to the next."""
    return error.diff(dim=2).abs().mean((0, 1, 3)), error.diff(dim=3).abs().mean((0, 1, 2))


def _ratio(jumps: Sequence[Tensor], at: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    values = torch.cat(list(jumps))
    return (values[torch.cat(list(at))].mean() / values[torch.cat(list(others))].mean()).item()


def psnr_of_frames(x: Tensor, y: Tensor) -> Tensor:
    """PSNR in dB (T,) of every frame, at most 100."""
    error = (y.clamp(0, _PEAK) - x).double().square().mean((1, 2, 3))
    return (10 * torch.log10(_PEAK**2 / error)).clamp(max=100.0)


def position_spread(values: Tensor, group: int) -> float:
    """How many dB lie between the best and the worst place in a group of so many frames, by the median of each.

    Over whole groups, without the first and the last, which have a figure of their own.
    """
    inner = values[group : len(values) // group * group - group]
    places = inner.unflatten(0, (-1, group)).median(0).values if len(inner) else values
    return (places.max() - places.min()).item()


def end_gap(values: Tensor, group: int) -> float:
    """How many dB the first or the last frame lies below the median of those between; 0 where neither does."""
    between = values[group:-group].median()
    return max((between - torch.stack([values[0], values[-1]]).min()).item(), 0.0)


def gains(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast gain and bias in grey levels (3,) of every colour: the least-squares line from original to output.

    The bias is that of the middle grey, 127.5.
    """
    x, y = (clip.transpose(0, 1).flatten(1).double() for clip in (x, y))
    centred = x - x.mean(1, keepdim=True)
    gain = (centred * (y - y.mean(1, keepdim=True))).sum(1) / centred.square().sum(1)
    return gain, y.mean(1) + gain * (127.5 - x.mean(1)) - 127.5


def colour_order(x: Tensor, y: Tensor) -> str:
    """Which original colour each output colour follows best, as "RGB" where they are in order."""
    x, y = (clip.transpose(0, 1).flatten(1).double() for clip in (x, y))
    x, y = (torch.nn.functional.normalize(clip - clip.mean(1, keepdim=True), dim=1) for clip in (x, y))
    return "".join("RGB"[place] for place in (y @ x.T).argmax(1).tolist())


def misplaced_frames(x: Tensor, y: Tensor) -> int:
    """Frames of the output that are nearer to another frame of the original than to their own, by a tenth or more."""
    count = 0
    for t in range(len(y)):
        near = {s: (y[t] - x[t + s]).square().mean().item() for s in _SHIFTS if 0 <= t + s < len(x)}
        count += min(near.values()) < 0.9 * near[0]
    return count


def leak(x: Tensor, y: Tensor, before: int, after: int) -> float:
    """Grey levels by which the error of the worse of these two frames exceeds that of frames far from them."""
    error = (y - x).abs().mean((1, 2, 3))
    far = torch.cat([error[: before - 5], error[after + 6 :]])
    return max((torch.stack([error[before], error[after]]).max() - far.median()).item(), 0.0)


def still_flicker(y: Tensor) -> float:
    """Mean absolute change from frame to frame of a clip whose original stands still, in grey levels."""
    return y.diff(dim=0).abs().mean().item()
