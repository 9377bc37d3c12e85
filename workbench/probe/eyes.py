"""What looks at decoded blocks: a vision network at frames, I3D at runs of 16 of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.media.video import to_uint8
from workbench.metrics.fvd import FVD_FRAMES, I3DFeatures
from workbench.models.base import Autoencoder
from workbench.probe.blocks import Cut
from workbench.vision.base import VisionNetwork, mean_features, middle_frames

_I3D_FEATURES = 400


@dataclass(frozen=True)
class Looking:
    """The networks that look at clips and at what is decoded; None for each that nobody asked for."""

    vision: VisionNetwork | None = None
    video: I3DFeatures | None = None

    def eyes(self, ae: Autoencoder) -> list["Eye"]:
        """What sees clips that a model decodes."""
        frames = [frame_eye(self.vision, ae)] if self.vision is not None else []
        return [*frames, *([video_eye(self.video)] if self.video is not None else [])]


def blocks_for(ae: Autoencoder, fvd: bool) -> Cut:
    """Which blocks of a model's latents the small generator learns; for FVD they decode to 16 frames or more."""
    return Cut(ae.latent_frames(FVD_FRAMES) if fvd else Cut.in_time, ae.causal)


@dataclass(frozen=True)
class Eye:
    """One network, and what its Fréchet distances take.

    Attributes:
        name: "fd" or "fvd", the end of the names of its figures.
        see: of clips (B, 3, T, H, W) in [-1, 1] the features (n, D), on the CPU.
        channels: numbers D of a feature.
        network: what a user calls it.
        frames: fewest frames of a clip that it takes.
        each: whether it gives a feature for each latent in time of a block, or one for the whole.
    """

    name: str
    see: Callable[[Tensor], Tensor]
    channels: int
    network: str
    frames: int
    each: bool

    def why_not(self, frames: int, steps: int, blocks: int) -> str | None:
        """Why so many held-out blocks, of so many frames and latents in time, give no distance; None where they do."""
        if frames < self.frames:
            return f"no FVD: it is of runs of {self.frames} frames, and blocks of these clips decode to {frames}"
        there, needed = blocks * (steps if self.each else 1), self.channels + 1
        if there >= needed:
            return None
        what = "no Fréchet distances" if self.each else "no FVD"
        of = "frames" if self.each else f"runs of {self.frames} frames"
        wanted = f"{self.channels} features of {self.network} take {needed} {of} of held-out clips"
        return f"{what}: {wanted}, there are {there}; give more clips, or longer ones"


def frame_eye(network: VisionNetwork, ae: Autoencoder) -> Eye:
    """Sees the frame in the middle of those that each latent in time stands for."""

    @torch.no_grad()
    def see(clips: Tensor) -> Tensor:
        frames = clips[:, :, middle_frames(ae, clips.shape[2])].transpose(1, 2).flatten(0, 1)
        return mean_features(network, frames.to(network.device)).float().cpu()

    return Eye("fd", see, network.channels, network.source, 1, each=True)


def video_eye(network: I3DFeatures) -> Eye:
    """Sees the first 16 frames of each clip."""

    def see(clips: Tensor) -> Tensor:
        return torch.cat([network.features(to_uint8(clip.transpose(0, 1)[:FVD_FRAMES])) for clip in clips])

    return Eye("fvd", see, _I3D_FEATURES, "I3D", FVD_FRAMES, each=False)
