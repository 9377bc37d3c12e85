"""What decides the numbers of an evaluation besides models and clips."""

from dataclasses import asdict
from typing import Any

import torch

from workbench.evaluate.instruments import Instruments
from workbench.evaluate.protocols import PROTOCOLS
from workbench.evaluate.settings import BITS_PER_VALUE, EvaluateSettings
from workbench.media.policy import SIDE_MULTIPLE

_VERSION = 3  # of the files in an evaluation's folder


def policy_record(
    settings: EvaluateSettings, device: torch.device, dtype: torch.dtype, instruments: Instruments
) -> dict[str, Any]:
    """All that decides the numbers besides models and clips, as plain values: two evaluations compare only if equal."""
    is_cuda = device.type == "cuda"
    return {
        **settings.record(),
        **asdict(settings.model),
        "dtype": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "lpips": sorted(instruments.perceptual),
        "lpips_every": next((network.every for network in instruments.perceptual.values()), None),
        "vmaf_every": instruments.vmaf and instruments.vmaf.every,
        "protocols": {name: PROTOCOLS[name].record() for name in instruments.protocols},
        "protocol_lpips": sorted(f"{name}{' spatial' * spatial}" for name, spatial in instruments.protocol_lpips),
        "protocol_i3d": instruments.protocol_i3d is not None,
        "sample_posterior": settings.sample_posterior,
        "set_name": settings.set_name,
        "warp_error": "warp_error" in instruments.requested,
        "fvd_network": instruments.fvd and instruments.fvd.identity,
        "side_multiple": SIDE_MULTIPLE,
        "bits_per_value": BITS_PER_VALUE,
        "version": _VERSION,
    }
