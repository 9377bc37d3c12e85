"""A reconstruction measured as a protocol says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.evaluate.protocols import Protocol, PsnrWay, VideoWay
from workbench.evaluate.reencode import through_h264, through_mp4v
from workbench.metrics.i3d import MIN_FRAMES, SIDE
from workbench.metrics.lpips import LPIPS
from workbench.metrics.ssim import ssim

_LEAN_CRF = 10
_FRAMES_AT_ONCE = 4
_EQUAL_MSE = 1e-10  # below which the protocols with a cap call frames equal


@dataclass(frozen=True)
class UnderProtocol:
    """Figures of one clip: psnr, ssim, lpips and i3d_per_clip_sq, as far as the protocol has them and their networks
    are here. `features` are those of original and output, (n, 400) each, where it takes a Fréchet distance."""

    figures: dict[str, float]
    features: tuple[Tensor, Tensor] | None = None


class OriginalUnder:
    """An original as a protocol compares it; its features are computed once for all reconstructions.

    Attributes:
        values: float32 (T, 3, H, W) in [0, 1].
    """

    def __init__(self, protocol: Protocol, frames: Tensor, fps: float, i3d: nn.Module | None) -> None:
        """`frames` are uint8 (T, 3, H, W); `fps` is the rate of files where the protocol writes some and does not say
        it; without `i3d` its figures are left out."""
        self.protocol, self._fps = protocol, fps
        self._i3d = i3d if protocol.video and len(frames) >= MIN_FRAMES else None
        self.values = self._compared(_of_original(protocol, frames), is_output=False)
        self._features: Tensor | None = None

    def measure(self, output: Tensor, lpips: Mapping[tuple[str, bool], LPIPS]) -> UnderProtocol:
        """Measure a reconstruction, float (T, 3, H, W), nominally in [-1, 1], as the model gave it.

        `lpips` are networks by backbone and whether they are spatial; LPIPS is left out where the protocol's is not
        there.
        """
        protocol, x = self.protocol, self.values
        y = self._compared(output.float().clamp(-1, 1).add(1).div(2), is_output=True)
        factor = max(1, round(min(x.shape[2:]) / 256)) if protocol.ssim_pooled else 1
        pooled = [F.avg_pool2d(clip, factor) for clip in (x, y)] if factor > 1 else [x, y]
        figures = {
            "psnr": clip_psnr(x, y, protocol.psnr),
            "ssim": ssim(pooled[0], pooled[1], 1.0, protocol.ssim).mean().item(),
        }
        network = lpips.get((protocol.lpips, protocol.lpips_spatial))
        if network is not None:
            figures["lpips"] = _lpips(x, y, network, protocol.lpips_signed)
        if self._i3d is None or protocol.video is None:
            return UnderProtocol(figures)
        if self._features is None:
            self._features = video_features(x, protocol.video, self._i3d)
        a, b = self._features, video_features(y, protocol.video, self._i3d)
        if protocol.video.field == "i3d_per_clip_sq":
            figures["i3d_per_clip_sq"] = (a - b).double().square().sum(1).mean().item()
            return UnderProtocol(figures)
        return UnderProtocol(figures, (a, b))

    def _compared(self, x: Tensor, is_output: bool) -> Tensor:
        """What is compared, of values in [0, 1]."""
        protocol = self.protocol
        if protocol.values == "min-max":
            return _stretched(x)
        if protocol.values == "float":
            return x
        x = (255 * x if protocol.values == "truncated" else 255 * x + 0.5).floor().to(torch.uint8)
        rate = protocol.written_fps or self._fps
        if protocol.written == "mp4v":
            x = through_mp4v(x, rate)
        elif protocol.written == "h264-output" and is_output:
            x = through_h264(x, rate, _LEAN_CRF)
        return x.float() / 255


def _of_original(protocol: Protocol, frames: Tensor) -> Tensor:
    x = frames.float() / 255
    return (x.bfloat16() * 2 - 1).float().add(1).div(2) if protocol.low_precision_input else x


def clip_psnr(x: Tensor, y: Tensor, way: PsnrWay) -> float:
    """PSNR in dB of a clip of values in [0, 1]; infinite for equal ones where nothing prevents it."""
    mse = (x - y).double().square().mean((1, 2, 3))
    if way.per == "clip":
        mse = mse.mean()[None]
    values = [math.inf if value == 0 else -10 * math.log10(value) for value in (mse + way.floor).tolist()]
    if way.cap is not None and way.whole_cap and math.inf in values:
        return way.cap
    if way.cap is not None:
        values = [way.cap if error < _EQUAL_MSE else value for value, error in zip(values, mse.tolist(), strict=True)]
    return math.fsum(values) / len(values)


def video_features(x: Tensor, way: VideoWay, i3d: nn.Module) -> Tensor:
    """Logits (n, 400), float32 on the CPU, of a clip (T, 3, H, W) in [0, 1]: one row a window, or a beginning."""
    fitted = _fitted(x[: way.limit], way.fit)
    fitted = 2 * fitted - 1 if way.signed else fitted
    if way.prefixes:
        first, last = way.prefixes
        passes = [fitted[:length] for length in range(first, min(last, len(fitted)) + 1)]
    else:
        size = way.window or len(fitted)
        passes = list(fitted.split(size)[: len(fitted) // size])
    device = next(i3d.parameters()).device
    with torch.no_grad():
        rows = [i3d(clip.transpose(0, 1)[None].to(device)).float().cpu() for clip in passes]
    return torch.cat(rows) if rows else torch.zeros(0, 400)


def _fitted(x: Tensor, fit: str) -> Tensor:
    """Frames at I3D's size."""
    if fit == "stretch":
        return F.interpolate(x, (SIDE, SIDE), mode="bilinear")
    height, width = x.shape[2:]
    scale = SIDE / min(height, width)
    size = [SIDE if side == min(height, width) else math.ceil(side * scale) for side in (height, width)]
    x = F.interpolate(x, size, mode="bilinear")
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return x[:, :, top : top + SIDE, left : left + SIDE]


def _lpips(x: Tensor, y: Tensor, network: LPIPS, signed: bool) -> float:
    values, device = [], network.shift.device
    with torch.no_grad():
        for a, b in zip(x.split(_FRAMES_AT_ONCE), y.split(_FRAMES_AT_ONCE), strict=True):
            pair = [clip.to(device) * 2 - 1 if signed else clip.to(device) for clip in (a, b)]
            values.append(network(*pair).mean((1, 2, 3)))
    return torch.cat(values).mean().item()


def _stretched(x: Tensor) -> Tensor:
    low, high = x.min(), x.max()
    return (x - low) / (high - low + 1e-10)
