"""Whether a generator will like the latents of one clip: the probes of `python -m workbench probe`, for a page."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from workbench.errors import ConfigError
from workbench.jobs.choices import Choices
from workbench.jobs.found_models import plain_name
from workbench.latents.clips import encode_clip_steps
from workbench.media.whole import read_clip_steps
from workbench.models.base import Autoencoder
from workbench.models.ref import ModelRef
from workbench.probe.catalogue import WHITE_NOISE
from workbench.probe.measure import probe_clip, probe_space
from workbench.probe.page import write_probes
from workbench.probe.run import Probed
from workbench.probe.spaces import add_clips, noise_like
from workbench.steps import Steps


@dataclass(frozen=True)
class ProbeView:
    """What was found of a clip, beside white noise, and the page that shows all of it and needs nothing else."""

    probed: Probed
    page: Path


def probe_job(choices: Choices, entry: ModelRef, ae: Autoencoder, folder: Path) -> Steps[ProbeView]:
    """Probe a clip's latents; tables and the page go into `folder`.

    Raises:
        ConfigError: it is a file of latents, which have no frames to be held against.
        FileError: the clip is missing or cannot be read, or the disk is full.
        NonFiniteError: a latent is not finite.
    """
    if choices.is_latents:
        raise ConfigError("latents alone cannot be probed here; drop the clip that they are of")
    label = plain_name(entry.label)
    clip, frames = yield from read_clip_steps(choices.path, choices.policy, ae.spatial_stride)
    latents, _ = yield from encode_clip_steps(ae, clip, choices.tiling)
    of_clip = yield from probe_clip(ae, frames, choices.tiling)
    spaces = {}
    for name, tensors in ((label, [latents]), (WHITE_NOISE, noise_like([latents]))):
        spaces[name] = yield from probe_space(tensors, None, 0, torch.device("cpu"))
    add_clips(spaces[label], [of_clip])
    policy = {"clip": choices.path.name, **choices.policy.record(), **asdict(choices.tiling)}
    probed = Probed(policy, spaces, 1, {})
    write_probes(probed, folder)
    return ProbeView(probed, folder / "probes.html")
