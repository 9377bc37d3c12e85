"""Alignment with a frozen vision network: what latents say of a place shall be what DINOv2 says of it.

The two terms of VA-VAE (Yao et al., "Reconstruction vs. Generation", arXiv 2501.01423), which Open-Sora 2.0 names for
a later stage of its Video DC-AE and never published:

    distance = mean relu(|cos(z_i, z_j) - cos(f_i, f_j)| - m_d)    over all pairs of places of one frame
    cosine   = mean relu(1 - m_c - cos(W z_i, f_i))                W: a linear map that is trained beside

for latents z and features f. Their sum is weighted by how strongly the losses on the reconstruction pull at the
encoder's last layer against it. Its authors' schedule: 100 epochs of weight 0.5 without margins, 15 of 0.1, 15 with
margins of 0.25 (distance) and 0.5 (cosine). Their code takes W z in both terms; here the first is that of the paper.
Cost: the vision network over a frame for each latent in time, and a pass back through the decoder for the weight.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.base import Autoencoder
from workbench.training.config import AlignmentConfig
from workbench.vision.base import VisionNetwork, latent_features


class Alignment(nn.Module):
    """The frozen network, and the linear map W from latents to its features, which is trained."""

    def __init__(self, network: VisionNetwork, latent_channels: int, margins: AlignmentConfig) -> None:
        super().__init__()
        self.network, self.margins = network, margins
        self.projection = nn.Linear(latent_channels, network.channels, bias=False)

    def forward(self, ae: Autoencoder, latents: Tensor, clip: Tensor) -> dict[str, Tensor]:
        """The loss ("alignment") and its two terms, of latents (B, C, t, h, w) of a clip (B, 3, T, H, W)."""
        with torch.no_grad():
            features = latent_features(self.network, ae, clip)
        with torch.autocast(latents.device.type, enabled=False):  # differences of cosines need all digits
            z, f = places(latents.float()), places(features.float())
            distance = distance_term(z, f, self.margins.distance_margin)
            cosine = cosine_term(self.projection(z), f, self.margins.cosine_margin)
        return {
            "alignment": distance + cosine,
            "alignment_distance": distance.detach(),
            "alignment_cosine": cosine.detach(),
        }


def places(x: Tensor) -> Tensor:
    """(B, C, t, h, w) as the places of every frame, (B * t, h * w, C)."""
    return x.transpose(1, 2).flatten(0, 1).flatten(2).transpose(1, 2)


def distance_term(z: Tensor, f: Tensor, margin: float) -> Tensor:
    """How far cosines between places of one frame differ beyond a margin: z (n, N, C) against f (n, N, D)."""
    return F.relu((cosines(z) - cosines(f)).abs() - margin).mean()


def cosine_term(z: Tensor, f: Tensor, margin: float) -> Tensor:
    """How far z (n, N, D) points away from f (n, N, D) beyond a margin."""
    return F.relu(1 - margin - F.cosine_similarity(z, f, dim=-1)).mean()


def cosines(x: Tensor) -> Tensor:
    """Cosines (n, N, N) between all places of x (n, N, C)."""
    unit = F.normalize(x, dim=-1)
    return unit @ unit.transpose(1, 2)
