"""Settings that several commands share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.config import setting
from workbench.models.catalogue import DEFAULT_MODEL, MODELS, PREFIX
from workbench.models.ref import ModelRef, parse_model
from workbench.tile_settings import Tiling

if TYPE_CHECKING:
    import torch

    from workbench.models.base import Autoencoder

MODEL_ALIASES = {"model": "model.name", "decoder": "model.decoder"}
"""`--model NAME` is short for `--model.name NAME`, and `--decoder` for `--model.decoder`."""


@dataclass(frozen=True)
class ModelSettings(Tiling):
    """Which model, with which weights, cut into which tiles."""

    name: str = setting(DEFAULT_MODEL, f"the autoencoder: {', '.join(MODELS)}, or {PREFIX}SOURCE")
    from_pretrained: str | None = setting(
        None, "weights: a .safetensors or .pt file, a checkpoint folder, org/repo/file on the Hub, or random"
    )
    architecture: dict[str, Any] = setting({}, "fields of the model's configuration to replace, as a dict")
    scale_factor: float | None = setting(None, "latent scale of the model (its scaling_factor), if not its own")

    decoder: str | None = setting(
        None, "decode with another model of the same latents: NAME or NAME@WEIGHTS, as in taehv@taew2_1.safetensors"
    )

    @property
    def ref(self) -> ModelRef:
        """The model and its weights, without the tiles."""
        scale = {} if self.scale_factor is None else {"scaling_factor": self.scale_factor}
        decoder = None if self.decoder is None else parse_model(self.decoder, "model.decoder")
        return ModelRef(self.name, self.from_pretrained, {**self.architecture, **scale}, decoder=decoder)

    def load(self, device: "str | torch.device | None", dtype: str | None) -> "Autoencoder":
        """The model, ready for inference."""
        return self.ref.load(device, dtype)
