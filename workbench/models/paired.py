"""The encoder of one model and the decoder of another, which work in the same latents: several decoders compared."""

import torch
from torch import Tensor

from workbench.errors import ConfigError
from workbench.models.base import Autoencoder, DiagonalGaussian
from workbench.stages import Stage

_SAME = 1e-3
"""Relative difference of statistics that are the same, published with four digits or more."""


class Paired(Autoencoder):
    """Latents are those of the first model as it gives them alone; frames are those of the second.

    Raises:
        ConfigError: their latents differ in shape, frame grid or normalisation, or are known to be of other models.
    """

    def __init__(self, encoder: Autoencoder, decoder: Autoencoder) -> None:
        super().__init__()
        _check_shapes(encoder, decoder)
        _check_meaning(encoder, decoder)
        self.first, self.second = encoder, decoder
        self.name = f"{encoder.name}+{decoder.name}"
        self.latent_channels, self.causal = encoder.latent_channels, encoder.causal
        self.temporal_stride, self.spatial_stride = encoder.temporal_stride, encoder.spatial_stride
        self.default_tile_frames, self.default_tile_pixels = encoder.default_tile_frames, encoder.default_tile_pixels
        self.default_tiling_mode, self.default_push_frames = encoder.default_tiling_mode, encoder.default_push_frames

    @property
    def encoding_model(self) -> Autoencoder:
        return self.first

    @property
    def decoding_model(self) -> Autoencoder:
        return self.second

    @property
    def latents_of(self) -> frozenset[str]:
        return self.first.latents_of

    @property
    def normalisation(self) -> tuple[Tensor, Tensor] | None:
        return self.first.normalisation

    def frames_of(self, latent_frames: int) -> int:
        return self.first.frames_of(latent_frames)

    def latent_frames(self, num_frames: int) -> int:
        return self.first.latent_frames(num_frames)

    def legal_side(self, pixels: int) -> int:
        return self.first.legal_side(pixels)

    def encode_stages(self) -> list[Stage]:
        return self.first.encode_stages()

    def decode_stages(self, is_image: bool) -> list[Stage]:
        return self.second.decode_stages(is_image)

    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        return self.first._encode(x, sample_posterior)

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return self.second._decode(z, num_frames)


def _check_shapes(encoder: Autoencoder, decoder: Autoencoder) -> None:
    made, taken = map(_shape_words, (encoder, decoder))
    if made != taken:
        raise ConfigError(f"`decoder`: {encoder.name} makes latents of {made}, {decoder.name} takes {taken}")
    grids = [[model.frames_of(latents) for latents in range(1, 13)] for model in (encoder, decoder)]
    if grids[0] != grids[1]:
        words = [f"{model.name} {grid[:4]}" for model, grid in zip((encoder, decoder), grids, strict=True)]
        raise ConfigError(f"`decoder`: 1, 2, 3, 4 latents are other numbers of frames: {', '.join(words)}")


def _shape_words(ae: Autoencoder) -> str:
    stride = ae.spatial_stride
    return f"{ae.latent_channels} channels, one for {ae.temporal_stride}x{stride}x{stride}"


def _check_meaning(encoder: Autoencoder, decoder: Autoencoder) -> None:
    """Latents of one shape may mean anything: they must be known to be the same, and be normalised alike."""
    of, by = encoder.latents_of, decoder.latents_of
    if of and by and not of & by:
        raise ConfigError(f"`decoder`: {decoder.name} decodes latents of {_listed(by)}, not of {_listed(of)}")
    given_by, taken_by = encoder.normalisation, decoder.normalisation
    if given_by is None or taken_by is None:  # one of them works on normalised latents
        return
    for name, given, taken in zip(("mean", "deviation"), given_by, taken_by, strict=True):
        if not torch.allclose(given.float(), taken.float(), rtol=_SAME, atol=_SAME):
            raise ConfigError(
                f"`decoder`: {encoder.name} and {decoder.name} normalise latents by another {name}: "
                f"{given.mean():.4g} and {taken.mean():.4g} on average"
            )


def _listed(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))
