"""All probes of one latent space: of a clip with its model, and of all latents together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.media.video import to_float
from workbench.models.base import Autoencoder
from workbench.models.coding import encode_tiled
from workbench.probe.blocks import AS_USUAL, Cut
from workbench.probe.catalogue import left_out
from workbench.probe.channels import Channels, channels_of
from workbench.probe.equivariance import equivariance_errors, whole_strides
from workbench.probe.generator import Trained, train_generator
from workbench.probe.motion import predicted_by_previous
from workbench.probe.neighbours import (
    cosine_profile,
    cosine_slope,
    local_against_distant,
    same_label_share,
)
from workbench.probe.robustness import robustness
from workbench.probe.semantics import semantics
from workbench.probe.spectrum import high_share, spatial_curve, temporal_curve
from workbench.probe.viv import velocity_irreducible_variance
from workbench.steps import Progress, Steps
from workbench.tile_settings import Tiling

_FRAMES, _PIXELS = 16, 256
"""The part of a clip, from its beginning and upper left, that is encoded and decoded anew."""

NEIGHBOURS = (5, 10)


@dataclass(frozen=True)
class SpaceProbes:
    """What was found of a latent space.

    Attributes:
        figures: one number a probe, by its name in `probe.catalogue`.
        curves: lists of numbers for the figures of the page.
        seconds: what each group of probes took.
        notes: what was left out, and why.
        generator: the small generator, where one was trained.
    """

    figures: dict[str, float]
    curves: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    generator: Trained | None = None

    def record(self) -> dict[str, Any]:
        """Plain values that JSON holds."""
        return {"figures": self.figures, "curves": self.curves, "seconds": self.seconds, "notes": self.notes}


def probe_clip(ae: Autoencoder, frames: Tensor, tiling: Tiling) -> Steps[dict[str, Any]]:
    """Probes that need the model: of a clip, uint8 (T, 3, H, W). Plain values that JSON holds; without the model's
    grid being filled twice, equivariance is left out. As steps."""
    x = to_float(frames[:_FRAMES, :, :_PIXELS, :_PIXELS]).transpose(0, 1)[None]
    z = encode_tiled(ae, x, tiling)
    std = z.float().transpose(0, 1).flatten(1).std(1, unbiased=False)
    begin = time.perf_counter()
    psnrs, between = yield from robustness(ae, x, z, std, tiling)
    after = time.perf_counter()
    cut = whole_strides(ae, x)
    errors: dict[str, float] = {}
    if cut is not None:
        errors = yield from equivariance_errors(ae, cut, encode_tiled(ae, cut, tiling), tiling)
    return {
        "size": [frames.shape[0], *frames.shape[2:]],
        "robustness": psnrs,
        "between_frames_psnr": between if z.shape[2] > 2 else None,
        "equivariance": errors,
        "seconds": {"robustness": after - begin, "equivariance": time.perf_counter() - after},
        "pixels": {"space": spatial_curve([_standardised(x[0])]), "time": temporal_curve([_standardised(x[0])])},
    }


def probe_space(
    latents: Sequence[Tensor],
    labels: Sequence[str] | None,
    generator_steps: int,
    device: torch.device,
    features: Sequence[Tensor] | None = None,
    how: Cut = AS_USUAL,
) -> Steps[SpaceProbes]:
    """Probes of latents (C, t, h, w) of many clips, as steps; with `generator_steps` the small generator too.

    Args:
        features: (D, t, h, w) of every clip by a vision network, for what latents say of what is shown.
        how: which blocks the small generator learns.
    """
    clock = _Clock()
    channels = clock("channels", lambda: channels_of(latents))
    standard = [channels.standardise(clip) for clip in latents]
    viv = clock("viv", lambda: velocity_irreducible_variance(standard))
    profile = clock("neighbours", lambda: cosine_profile(standard))
    figures = {
        "viv": viv.viv,
        "viv_scaled": viv.scaled,
        "rho": viv.rho,
        **clock("spectrum", lambda: _shares(standard)),
        "lds": local_against_distant(profile),
        "cds": cosine_slope(profile),
        **_of_channels(channels),
        "previous_frame": clock("motion", lambda: predicted_by_previous(standard)),
    }
    if labels is not None:
        figures |= {f"lnc_{k}": same_label_share(standard, labels, k) for k in NEIGHBOURS}
    if features is not None:
        found = clock("semantics", lambda: semantics(standard, features))
        figures |= {"vf_distance": found.distance, "vf_share": found.share, "vf_cosine": found.cosine}
    curves: dict[str, Any] = {
        **_curves_of_channels(channels),
        "cosines": {str(distance): cosine for distance, (cosine, _) in profile.items()},
        "space": spatial_curve(standard),
        "time": temporal_curve(standard),
    }
    yield Progress("probe", 1, 1)
    generator, notes = None, left_out(figures)
    if generator_steps and len(latents) < 2:
        notes.append("no small generator: it takes two clips or more, one of them to judge it on")
    elif generator_steps:
        begin = time.perf_counter()
        generator = yield from train_generator(standard, generator_steps, device, how)
        clock.seconds["generator"] = time.perf_counter() - begin
        figures["generator_share"] = generator.result.share
        curves["generator"] = asdict(generator.result)
    return SpaceProbes(figures, curves, clock.seconds, notes, generator)


def _of_channels(channels: Channels) -> dict[str, float]:
    return {
        "effective_rank": channels.effective_rank,
        "condition_number": channels.condition_number,
        "top_10_share": channels.top_10_share,
        "dead_channels": float(channels.dead),
        "kurtosis": channels.kurtosis.median().item(),
    }


def _curves_of_channels(channels: Channels) -> dict[str, list[float]]:
    return {
        "eigenvalues": channels.eigenvalues.tolist(),
        "mean": channels.mean.tolist(),
        "std": channels.std.tolist(),
        "kurtosis": channels.kurtosis.tolist(),
    }


def _shares(standard: Sequence[Tensor]) -> dict[str, float]:
    shares = {f"sec_{rho}": high_share(standard, rho / 100) for rho in (25, 50)}
    return shares | {"sec_3d_25": high_share(standard, 0.25, with_time=True)}


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - begin
        return result


def _standardised(clip: Tensor) -> Tensor:
    """Frames (3, T, H, W) with each channel at mean 0 and deviation 1."""
    values = clip.flatten(1)
    shape = (-1, 1, 1, 1)
    return (clip - values.mean(1).view(shape)) / values.std(1, unbiased=False).clamp_min(1e-6).view(shape)
