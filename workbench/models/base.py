"""The one interface of every autoencoder: shapes, padding to legal sizes and cropping back."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import ConfigError, ShapeError
from workbench.stages import GlobalStage, Stage
from workbench.tiling import pad_end


@dataclass(frozen=True)
class DiagonalGaussian:
    """The posterior of a variational autoencoder: independent normals with these means and log-variances."""

    mean: Tensor
    logvar: Tensor

    def sample(self) -> Tensor:
        return self.mean + torch.exp(0.5 * self.logvar) * torch.randn_like(self.mean)

    def kl(self) -> Tensor:
        """KL divergence to a standard normal, in nats, averaged over all latent values."""
        mean, logvar = self.mean.float(), self.logvar.float()
        return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()


@dataclass(frozen=True)
class AutoencoderOutput:
    """What a training pass needs: the reconstruction (B, 3, T, H, W), the latents and any posterior."""

    reconstruction: Tensor
    latents: Tensor
    posterior: DiagonalGaussian | None


class Autoencoder(nn.Module, ABC):
    """A video autoencoder. Subclasses set the attributes below and write `_encode` and `_decode` for legal shapes only.

    Attributes:
        name: the name in `MODELS` that it was built from.
        weights_path: the file, or folder of diffusers, that its weights were read from; None for random ones, or none.
        latent_channels: channels of the latents.
        temporal_stride, spatial_stride: how many frames, and pixels of a side, one latent stands for.
        causal: whether the first frame has a latent of its own (legal clips have 1 + k * temporal_stride frames);
            otherwise a clip has k * temporal_stride frames and a single frame is an image.
        default_tile_frames, default_tile_pixels: tile sizes of its published tiled inference, or, of the
            shipped models, what suits their memory.
        default_tiling_mode: how it is run over a clip unless another way is asked for, see `Tiling`.
        default_push_frames: frames that its local stages take at once, latents where the decoder begins with one.
        encoder_parts: attributes whose weights make latents of frames; all others make frames of latents.
        tiles_are_own: whether its tiles are a part of the model: it is streamed in them, and other sizes are refused.
        gpu_layout: how its weights, and so its activations, lie in a GPU's memory for inference.
        config: its architecture, a dataclass, or the mapping that diffusers keeps; see `registry.architecture_of`.
    """

    name: str = ""
    weights_path: Path | None = None
    latent_channels: int
    temporal_stride: int
    spatial_stride: int
    causal: bool = False
    default_tile_frames: int = 32
    default_tile_pixels: int = 256
    default_tiling_mode: str = "tiles"
    default_push_frames: int = 4
    tiles_are_own: bool = False
    gpu_layout: torch.memory_format = torch.contiguous_format
    config: Any
    encoder_parts: tuple[str, ...] = ("encoder",)

    @property
    def encoding_model(self) -> "Autoencoder":
        """The model that encodes: itself, but in a pair."""
        return self

    @property
    def decoding_model(self) -> "Autoencoder":
        """The model that decodes: itself, but in a pair."""
        return self

    @property
    def latents_of(self) -> frozenset[str]:
        """Names of models, and classes of diffusers, in whose latents it works; empty where that cannot be told."""
        return frozenset({self.name})

    @property
    def normalisation(self) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation, (C, 1, 1, 1) or scalars, that `encode` takes out of the network's latents and `decode`
        puts back; None where the network works on normalised ones."""
        return None

    @property
    def last_layer(self) -> nn.Parameter | None:
        """Weight of the decoder's last convolution, for the adaptive adversarial weight; None without weights."""
        return None

    @property
    def encoder_last_layer(self) -> nn.Parameter | None:
        """Weight of the layer that makes the latents, for the adaptive weight of an alignment; None where not named."""
        return None

    def frames_of(self, latent_frames: int) -> int:
        """The number of frames that `latent_frames` >= 1 latents of a clip (not of an image) decode to."""
        if self.causal:
            return 1 + (latent_frames - 1) * self.temporal_stride
        return latent_frames * self.temporal_stride

    def latent_frames(self, num_frames: int) -> int:
        """The number of latents in time of a clip of `num_frames` >= 1 frames; 1 for an image."""
        if self.causal:
            return 1 + _ceil_div(num_frames - 1, self.temporal_stride)
        return _ceil_div(num_frames, self.temporal_stride)

    def legal_frames(self, num_frames: int) -> int:
        """The smallest frame count >= `num_frames` that the network itself takes: what `encode` pads to."""
        return 1 if num_frames == 1 else self.frames_of(self.latent_frames(num_frames))

    def legal_side(self, pixels: int) -> int:
        """The smallest side >= `pixels` that the network itself takes."""
        return _ceil_div(pixels, self.spatial_stride) * self.spatial_stride

    def legal_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The smallest size that the network itself takes of which this one is a part."""
        return self.legal_frames(num_frames), self.legal_side(height), self.legal_side(width)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Shape (C, t, h, w) of the latents of a clip of any size."""
        rows, columns = (self.legal_side(side) // self.spatial_stride for side in (height, width))
        return self.latent_channels, self.latent_frames(num_frames), rows, columns

    @property
    def device(self) -> torch.device:
        return self._a_tensor().device

    @property
    def dtype(self) -> torch.dtype:
        """The type that inputs are converted to: that of the weights."""
        return self._a_tensor().dtype

    def freeze_encoder(self) -> None:
        """From now on no gradient reaches the weights that make the latents."""
        for name, parameter in self.named_parameters():
            if self.encodes_by(name):
                parameter.requires_grad_(False)

    def encodes_by(self, parameter: str) -> bool:
        """Whether a parameter of this name makes latents; all others make frames of them."""
        return any(f"{parameter}.".startswith(f"{part}.") for part in self.encoder_parts)

    def parameter_count(self) -> int:
        """How many there are: in a pair, of the half that encodes and of the half that decodes."""
        first, second = self.encoding_model, self.decoding_model
        used = [p for name, p in first.named_parameters() if first.encodes_by(name)]
        used += [p for name, p in second.named_parameters() if not second.encodes_by(name)]
        return sum(parameter.numel() for parameter in used)

    def set_gradient_checkpointing(self, enabled: bool, last_layer_off: bool = True) -> None:
        """Keep only the inputs of blocks for the backward pass, and compute the rest again.

        Args:
            last_layer_off: leave the last layer out, whose gradient the adaptive weight takes.

        Raises:
            ConfigError: the model has no blocks that can.
        """
        raise ConfigError(f"`grad_checkpoint`: {self.name} has no blocks that can be computed again")

    def encode(self, x: Tensor, sample_posterior: bool = False) -> Tensor:
        """Frames (B, 3, T, H, W) in [-1, 1], any T, H, W >= 1, to latents (B, C, t, h, w) on the model's device.

        Sizes that the network does not take are padded by repeating the last frame, row and column.
        Variational models return the mode of the posterior, or a sample if asked. Latent scaling is applied.

        Raises:
            ShapeError: x is not a floating-point (B, 3, T, H, W) tensor.
        """
        z = self._encode(self._legal_input(x), sample_posterior)[0]
        return self._checked(z, self.latent_shape(*x.shape[2:]))

    def decode(self, z: Tensor, num_frames: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
        """Latents (B, C, t, h, w) back to frames (B, 3, num_frames, *size), nominally in [-1, 1] but not clamped.

        Args:
            num_frames: frames of the encoded clip. Without it, all that the latents hold: t = 1 is then an image.
            size: (height, width) of the encoded clip; without it, all that the latents hold.

        Raises:
            ShapeError: z is not the latent shape of such a clip.
        """
        num_frames, height, width = self.decoded_shape(z, num_frames, size)
        y = self._legal_output(z.to(self.device, self.dtype), num_frames, height, width)
        return y[:, :, :num_frames, :height, :width]

    def decoded_shape(
        self, z: Tensor, num_frames: int | None = None, size: tuple[int, int] | None = None
    ) -> tuple[int, int, int]:
        """(T, H, W) that `decode` returns for these arguments; ShapeError where the latents are not of such a clip."""
        if z.ndim != 5 or z.shape[1] != self.latent_channels:
            raise ShapeError(f"latents must be (B, {self.latent_channels}, t, h, w), got {tuple(z.shape)}")
        if num_frames is None:
            num_frames = 1 if z.shape[2] == 1 else self.frames_of(z.shape[2])
        height, width = size or (z.shape[3] * self.spatial_stride, z.shape[4] * self.spatial_stride)
        expected, given = self.latent_shape(num_frames, height, width), tuple(z.shape[1:])
        if expected != given:
            raise ShapeError(f"{num_frames} frames of {width}x{height} have latents {expected}, got {given}")
        return num_frames, height, width

    def forward(self, x: Tensor, sample_posterior: bool = False) -> AutoencoderOutput:
        """Reconstruct x (B, 3, T, H, W) in [-1, 1] in one differentiable pass."""
        latents, posterior = self._encode(self._legal_input(x), sample_posterior)
        num_frames, height, width = x.shape[2:]
        y = self._legal_output(latents, num_frames, height, width)
        return AutoencoderOutput(y[:, :, :num_frames, :height, :width], latents, posterior)

    def encode_stages(self) -> list[Stage]:
        """The encoder in parts that are streamed or tiled each by itself; by default all of it is tiled.

        All stages work on whole latents of legal clips and have no gradient.
        """
        return [self.whole_encoder()]

    def decode_stages(self, is_image: bool) -> list[Stage]:
        """The decoder in parts, as `encode_stages`."""
        return [self.whole_decoder(is_image)]

    def decoder_features(self, z: Tensor, num_frames: int) -> Iterator[Tensor]:
        """Features that the stages of the decoder make of latents z of `num_frames` legal frames, those next to the
        latents first, each computed when it is taken.

        Raises:
            ConfigError: the model does not tell them.
        """
        raise ConfigError(f"`distil_config.weight`: {self.name} does not tell the features of its decoder; use 0")

    def whole_encoder(self, sample_posterior: bool = False) -> GlobalStage:
        """The encoder as one stage, which is tiled."""
        encode = partial(self.encode, sample_posterior=sample_posterior)
        return GlobalStage("encode", encode, self.frames_of, self.spatial_stride, int(self.causal))

    def whole_decoder(self, is_image: bool) -> GlobalStage:
        """The decoder as one stage, which is tiled."""

        def run(z: Tensor) -> Tensor:
            return self.decode(z, num_frames=1 if is_image else self.frames_of(z.shape[2]))

        return GlobalStage("decode", run, self.frames_of, self.spatial_stride, int(self.causal))

    @abstractmethod
    def _encode(self, x: Tensor, sample_posterior: bool) -> tuple[Tensor, DiagonalGaussian | None]:
        """Encode a clip of legal shape; the posterior is None for models without a variational part."""

    @abstractmethod
    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        """Decode latents to `num_frames` legal frames and the full side lengths; num_frames == 1 is an image."""

    def _legal_input(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape or not x.is_floating_point():
            raise ShapeError(f"frames must be float (B, 3, T, H, W) in [-1, 1], got {x.dtype} {tuple(x.shape)}")
        return pad_end(x.to(self.device, self.dtype), *self.legal_size(*x.shape[2:]))

    def _legal_output(self, z: Tensor, num_frames: int, height: int, width: int) -> Tensor:
        frames, *sides = self.legal_size(num_frames, height, width)
        return self._checked(self._decode(z, frames), (3, frames, *sides))

    def _checked(self, result: Tensor, expected: tuple[int, ...]) -> Tensor:
        """The result of a network, whose shape is never taken on trust: cropping would hide missing frames."""
        if tuple(result.shape[1:]) != expected:
            raise ShapeError(
                f"{self.name} returned {tuple(result.shape[1:])} where {expected} is needed: a defect of the model"
            )
        return result

    def _a_tensor(self) -> Tensor:
        tensor = next(self.parameters(), None)
        return tensor if tensor is not None else next(self.buffers())


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
