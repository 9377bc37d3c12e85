"""Settings that several commands share."""

from dataclasses import dataclass
from typing import Any

import torch

from workbench.config import setting
from workbench.models import DEFAULT_MODEL, MODELS, architecture_of, load_autoencoder
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_sizes
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


def model_record(ae: Autoencoder, tiling: Tiling) -> dict[str, Any]:
    """What a model ran with, for a record of results: all that was left to defaults as it came out."""
    pixels, frames = tile_sizes(ae, tiling)
    return {
        "model": ae.name,
        "class": type(ae).__name__,
        "architecture": architecture_of(ae),
        "weights": None if ae.weights_path is None else str(ae.weights_path.resolve()),
        "device": torch.cuda.get_device_name(ae.device) if ae.device.type == "cuda" else "cpu",
        "dtype": str(ae.dtype).removeprefix("torch."),
        "spatial_tile_size": pixels,
        "temporal_tile_size": frames,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
