"""Whether a loaded model is what it should be: the faults that people meet, found in a minute on shipped clips."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.faults import known_faults
from workbench.media.files import EXAMPLES
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.metrics.psnr import pooled_psnr
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_tiled, encode_tiled
from workbench.models.latent_moments import dead_channels
from workbench.models.registry import load_autoencoder
from workbench.steps import Progress, Steps

CLIP = ClipPolicy(resolution="256", max_frames=17)
"""What is taken of each shipped clip."""

_BELOW_DCT_DB = 3.0
_DEVIATIONS = 0.5, 2.0
_GAINS, _BIAS = (0.85, 1.15), 8.0  # grey levels


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: "good", "odd" (works, and one should know) or "bad" (not what it should be).
        what: the thing.
        found: its value, and what follows from it.
    """

    verdict: str
    what: str
    found: str


def check_steps(ae: Autoencoder) -> Steps[list[Finding]]:
    """All findings, as steps: one a shipped clip."""
    paths = sorted(EXAMPLES.glob("*.mp4"))
    bar = load_autoencoder("dct", device=ae.device, dtype="float32")
    originals, outputs, floors, latents = [], [], [], []
    findings = [*_setting(ae)]
    for done, path in enumerate(paths, start=1):
        x = open_clip(path, CLIP, ae.spatial_stride).read().transpose(0, 1)[None]
        size = x.shape[2], (x.shape[3], x.shape[4])
        try:
            z = encode_tiled(ae, x)
            y = decode_tiled(ae, z, num_frames=size[0], size=size[1])
        except WorkbenchError as error:
            return [*findings, Finding("bad", f"{path.name}", str(error))]
        originals.append(x.float())
        outputs.append(_grey(y))
        latents.append(z.transpose(0, 1).flatten(1).float().cpu())
        linear = decode_tiled(bar, encode_tiled(bar, x), num_frames=size[0], size=size[1])
        floors.append(_psnr(originals[-1], _grey(linear)))
        yield Progress("check", done, len(paths))
    findings += _round_trip(originals, outputs, floors)
    findings += _colours(originals, outputs)
    findings += _latents(torch.cat(latents, dim=1))
    return findings


def _setting(ae: Autoencoder) -> Iterator[Finding]:
    where = torch.cuda.get_device_name(ae.device) if ae.device.type == "cuda" else ae.device.type
    parameters = ae.parameter_count()
    tensors = [tensor for tensor in (*ae.parameters(), *ae.buffers()) if tensor.is_floating_point()]
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})
    mixed = len(kinds) > 1
    found = f"{parameters:,} in {', '.join(kinds)} on {where}"
    yield Finding("odd" if mixed else "good", "parameters", found + (": of several types" if mixed else ""))
    yield Finding("good", "attention backends", ", ".join(_attention(ae.device)))
    faults = known_faults(ae.device, ae.dtype)
    versions = f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version() or 'none'}"
    yield from (Finding("odd", versions, fault) for fault in faults)
    if not faults:
        yield Finding(
            "good", "versions", f"{versions}: no fault is known for {str(ae.dtype).removeprefix('torch.')} here"
        )


def _attention(device: torch.device) -> Iterator[str]:
    """What torch may compute scaled dot products with here; linear attention, as of the DC-AEs, needs none of it."""
    if device.type == "cuda":
        kinds = ("flash", "mem_efficient", "cudnn")
        yield from (kind for kind in kinds if getattr(torch.backends.cuda, f"{kind}_sdp_enabled")())
    yield "plain"


def _round_trip(originals: list[Tensor], outputs: list[Tensor], floors: list[float]) -> Iterator[Finding]:
    psnr = _mean([_psnr(x, y) for x, y in zip(originals, outputs, strict=True)])
    floor = _mean(floors)
    bad = psnr < floor - _BELOW_DCT_DB
    remedy = ": wrong weights, normalisation or scale?" if bad else ""
    yield Finding(
        "bad" if bad else "good", "round trip", f"{psnr:.2f} dB, the linear transform has {floor:.2f}{remedy}"
    )


def _colours(originals: list[Tensor], outputs: list[Tensor]) -> Iterator[Finding]:
    """Gain and bias of every colour, by least squares over all pixels, and whether colours are exchanged."""
    x, y = (torch.cat([clip[0].flatten(1) for clip in clips], dim=1).double() for clips in (originals, outputs))
    x0, y0 = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    gains = (x0 * y0).sum(1) / x0.square().sum(1)
    biases = (y - x).mean(1)
    far = max(biases.abs().tolist()) > _BIAS or not all(_GAINS[0] <= gain <= _GAINS[1] for gain in gains.tolist())
    words = ", ".join(
        f"{name} {gain:.3f} {bias:+.1f}"
        for name, gain, bias in zip("RGB", gains.tolist(), biases.tolist(), strict=True)
    )
    yield Finding(
        "odd" if far else "good", "gain and bias of colours", words + (": contrast or colour drifts" if far else "")
    )
    chroma_x, chroma_y = x0 - x0.mean(0), y0 - y0.mean(0)  # what the colours share says nothing of their order
    likeness = torch.nn.functional.normalize(chroma_y, dim=1) @ torch.nn.functional.normalize(chroma_x, dim=1).T
    best = likeness.argmax(1).tolist()
    if best != [0, 1, 2]:
        order = "".join("RGB"[index] for index in best)
        yield Finding("bad", "order of colours", f"R, G and B come out most like {order}: exchanged channels?")


def _latents(values: Tensor) -> Iterator[Finding]:
    """Deviation over all and per channel, of values (C, n)."""
    std = values.std(1)
    total = (values - values.mean()).square().mean().sqrt().item()
    near = _DEVIATIONS[0] <= total <= _DEVIATIONS[1]
    advice = "" if near else ": not near 1; a generator wants `normalise`, or the model its scaling factor"
    yield Finding("good" if near else "odd", "deviation of latents", f"{total:.3g}{advice}")
    if dead := dead_channels(std):
        yield Finding("odd", "channels that say nothing", f"{dead} of {len(std)}")


def _grey(y: Tensor) -> Tensor:
    return ((y.float().clamp(-1, 1) + 1) * 127.5).cpu()


def _psnr(x: Tensor, y: Tensor) -> float:
    return pooled_psnr(x, y, 255.0).item()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
