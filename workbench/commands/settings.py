"""Settings that several commands share."""

from dataclasses import dataclass
from typing import Any

import torch

from workbench.config import setting
from workbench.models.base import Autoencoder
from workbench.models.registry import DEFAULT_MODEL, MODELS, load_autoencoder
from workbench.tiling import Tiling

MODEL_ALIASES = {"model": "model.name"}
"""`--model NAME` is short for `--model.name NAME`."""

DEVICE_HELP = "cuda, cuda:1, cpu; by default the GPU where there is one"
DTYPE_HELP = "float32, bfloat16 or float16; by default bfloat16 on a GPU, float32 on a CPU"


@dataclass(frozen=True)
class ModelSettings(Tiling):
    """Which model, with which weights, cut into which tiles."""

    name: str = setting(DEFAULT_MODEL, f"the autoencoder: {', '.join(MODELS)}")
    from_pretrained: str | None = setting(
        None, "weights: a .safetensors or .pt file, a checkpoint folder, org/repo/file on the Hub, or random"
    )
    architecture: dict[str, Any] = setting({}, "fields of the model's configuration to replace, as a dict")
    scale_factor: float | None = setting(None, "latent scale of the model (its scaling_factor), if not its own")

    def load(self, device: str | torch.device | None, dtype: str | None) -> Autoencoder:
        """The model, ready for inference."""
        scale = {} if self.scale_factor is None else {"scaling_factor": self.scale_factor}
        return load_autoencoder(self.name, self.from_pretrained, device, dtype, {**self.architecture, **scale})
