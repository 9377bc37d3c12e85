"""Whether latents move as the frames do: encoding a transformed clip against transforming its latents.

EQ-VAE (arXiv 2502.09509) and SE (arXiv 2502.14831) train for it. Of all probes it follows generation quality least:
|r| of 0.53 over 86 tokenizers of images (arXiv 2606.03578). Cost: an encoding of the clip for each transform.
"""

from collections.abc import Callable, Iterator

import torch.nn.functional as F
from torch import Tensor

from workbench.models.base import Autoencoder
from workbench.models.coding import encode_tiled
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling

Transform = tuple[str, Tensor, Tensor]
"""A name, a transformed clip, and the latents that an equivariant encoder would give of it."""


def equivariance_errors(ae: Autoencoder, x: Tensor, z: Tensor, tiling: Tiling) -> Steps[dict[str, float]]:
    """By transform, the mean squared difference to the transformed latents over the variance of the latents; as steps.

    0 for an encoder that commutes with the transform, about 2 for unrelated latents. Shifts by whole strides leave
    frames only at the borders to differ, those by half a stride are held against the mean of both neighbours.

    Args:
        x: a clip (1, 3, T, H, W) in [-1, 1] whose sides are two strides or more and multiples of the stride.
        z: its latents (1, C, t, h, w).
    """
    variance = z.float().var(dim=(0, 2, 3, 4), unbiased=False).mean()
    found: dict[str, float] = {}
    moved = list(transforms(ae, x, z))
    for name, clip, expected in moved:
        given = encode_tiled(ae, clip, tiling)
        found[name] = ((given - expected).square().mean() / variance).item()
        yield Progress("equivariance", len(found), len(moved))
    return found


def transforms(ae: Autoencoder, x: Tensor, z: Tensor) -> Iterator[Transform]:
    """The transforms, as far as the clip is large and long enough."""
    z = z.float()
    yield "flip", x.flip(4), z.flip(4)
    yield "rotation", x.rot90(1, (3, 4)), z.rot90(1, (3, 4))
    stride = ae.spatial_stride
    if min(z.shape[3:]) >= 2 and not any(side % 2 for side in z.shape[3:]):
        yield "scale 1/2", _frames(x, _halved), _frames(z, _halved)
    yield "shift", x[..., stride:], z[..., 1:]
    yield "half shift", x[..., stride // 2 : -(stride // 2)], (z[..., 1:] + z[..., :-1]) / 2
    step = ae.temporal_stride
    if not ae.causal and step > 1 and z.shape[2] > 1:
        yield "shift in time", x[:, :, step:], z[:, :, 1:]
        yield "half shift in time", x[:, :, step // 2 : -(step // 2)], (z[:, :, 1:] + z[:, :, :-1]) / 2


def _halved(frames: Tensor) -> Tensor:
    return F.interpolate(frames, scale_factor=0.5, mode="area")


def _frames(clip: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of (n, C, H, W) on every frame of (1, C, T, H, W)."""
    return function(clip[0].transpose(0, 1)).transpose(0, 1)[None]


def whole_strides(ae: Autoencoder, x: Tensor) -> Tensor | None:
    """The upper left of a clip (1, 3, T, H, W), with sides of even multiples of the stride and as many frames as the
    network takes; None where the clip is smaller than two strides."""
    sides = [side // (2 * ae.spatial_stride) * 2 * ae.spatial_stride for side in x.shape[3:]]
    frames = x.shape[2]
    while frames > 1 and ae.legal_frames(frames) != frames:
        frames -= 1
    return x[:, :, :frames, : sides[0], : sides[1]] if min(sides) else None
