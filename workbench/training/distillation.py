"""Features of a large decoder, which a small one learns to have too: the distillation of Turbo-VAED (arXiv 2508.09136).

    loss = mean over clips and the first stages of |P f - g|^2 / |g|^2

for features f of the student and g of its teacher, a frozen decoder of the same latents, next to the latents first. P
is a map of single positions with one hidden layer, trained beside. The published loss is not divided by |g|^2, and so
depends on how large the teacher's features are; here 1 is what P f = 0 costs, whatever the teacher.
Cost: the first stages of both decoders once more, which is little: most of a decoder is in its last stages.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.models.base import Autoencoder


class Distillation(nn.Module):
    """The teacher, which loses its encoder, as nothing needs it, and the maps P from the student's features to its own,
    which are trained.

    Raises:
        ConfigError: one of the two does not name its stages, or has fewer, or their features are of other sizes.
    """

    def __init__(self, teacher: Autoencoder, student: Autoencoder, stages: int) -> None:
        super().__init__()
        self.teacher, self.stages = teacher, stages
        self.projections = nn.ModuleList(_projection(*pair) for pair in _channels(student, teacher, stages))
        for part in teacher.encoder_parts:
            delattr(teacher, part)

    def forward(self, student: Autoencoder, latents: Tensor, num_frames: int) -> Tensor:
        """The loss, of latents (B, C, t, h, w) of a clip of so many legal frames."""
        with torch.no_grad():
            targets = list(islice(self.teacher.decoder_features(latents, num_frames), self.stages))
        features = islice(student.decoder_features(latents, num_frames), self.stages)
        terms = [
            relative_error(project(averaged_over_time(own, target.shape[2])), target)
            for project, own, target in zip(self.projections, features, targets, strict=True)
        ]
        return torch.stack(terms).mean()


def relative_error(x: Tensor, target: Tensor) -> Tensor:
    """Mean over a batch (B, ...) of the squared difference over the square of the second tensor, in float32."""
    x, target = x.float().flatten(1), target.float().flatten(1)
    return ((x - target).square().mean(1) / target.square().mean(1).clamp_min(1e-12)).mean()


def averaged_over_time(x: Tensor, frames: int) -> Tensor:
    """x (B, C, T, H, W) averaged over time to so many frames: a small decoder sees an image as a still clip."""
    return x if x.shape[2] == frames else x.unflatten(2, (frames, -1)).mean(3)


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 1), nn.SiLU(), nn.Conv3d(outputs, outputs, 1))


def _channels(student: Autoencoder, teacher: Autoencoder, stages: int) -> Iterator[tuple[int, int]]:
    """Channels of the features of both, found on one latent."""
    frames = teacher.frames_of(1)
    z = torch.zeros(1, teacher.latent_channels, teacher.latent_frames(frames), 1, 1, device=teacher.device)
    with torch.no_grad():
        found = [list(islice(ae.decoder_features(z, frames), stages)) for ae in (student, teacher)]
    if min(map(len, found)) < stages:
        raise ConfigError(f"`distil_config.stages`: {stages} is more than the {min(map(len, found))} that there are")
    for stage, (own, target) in enumerate(zip(*found, strict=True), 1):
        if own.shape[2:] != target.shape[2:]:
            sizes = [f"{x.shape[2]}x{x.shape[3]}x{x.shape[4]}" for x in (own, target)]
            raise ConfigError(
                f"`distil_config.stages`: stage {stage} makes {sizes[0]} of a latent, the teacher's {sizes[1]}; "
                f"use {stage - 1}"
            )
        yield own.shape[1], target.shape[1]
