"""Small architectures of every model, with the compression of the full ones, for tests of the interface."""

from reference_weights import load_formula_weights

from workbench.models.base import Autoencoder
from workbench.models.registry import build_autoencoder

ARCHITECTURES = {
    "tiny": {
        "encoder_widths": (8, 8, 8),
        "encoder_depths": (1, 1, 1),
        "decoder_widths": (16, 8, 8),
        "decoder_depths": (1, 1, 1),
    },
    "dct": {},
    "video_dc_ae": {
        "widths": (16, 32, 64, 64, 128, 128),
        "encoder_depths": (1,) * 6,
        "decoder_depths": (1,) * 6,
        "latent_channels": 16,
    },
    "dc_ae_v": {
        "widths": (16, 16, 32, 32, 64, 64),
        "encoder_depths": (1,) * 6,
        "decoder_depths": (1,) * 6,
        "latent_channels": 16,
        "chunk_frames": 8,
    },
    "hunyuan_vae": {"widths": (32, 32, 64, 64), "layers_per_block": 1, "latent_channels": 4},
    "taehv": {"encoder_width": 8, "decoder_widths": (16, 8, 8, 8), "latent_channels": 4},
}


def small_model(name: str) -> Autoencoder:
    """A model of `MODELS` in inference mode, small enough for a test.

    Its weights are those of the references: freshly initialised ones give a nearly grey picture, which tests nothing.
    """
    model = build_autoencoder(name, ARCHITECTURES[name]).eval().requires_grad_(False)
    load_formula_weights(model)
    return model
