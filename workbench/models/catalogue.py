"""What autoencoders there are, by name, and where their weights come from; `registry` builds them."""

import os
from dataclasses import dataclass
from pathlib import Path

from workbench.config import check_choice

PREFIX = "diffusers:"
"""Begins the names of the autoencoders of `diffusers`: diffusers:FOLDER, diffusers:ORG/REPO or diffusers:CLASS."""


@dataclass(frozen=True)
class ModelSpec:
    """One entry of MODELS.

    Attributes:
        summary, source: what it is, and where its method was published.
        weights: where its weights come from: a file that is shipped, org/repo/file on the Hub, or None if it has none.
    """

    summary: str
    source: str
    weights: Path | str | None

    @property
    def is_ready(self) -> bool:
        """Whether it runs without weights being named."""
        return not isinstance(self.weights, str)


MODELS: dict[str, ModelSpec] = {
    "tiny": ModelSpec(
        "small model of the Video DC-AE's rate: a learned residual beside the block DCT, trained on free clips",
        "this project; rate of arXiv 2503.09642",
        Path(__file__).parents[1] / "weights" / "tiny.safetensors",
    ),
    "dct": ModelSpec(
        "linear 4x32x32 block transform to 128 coefficients: the baseline of the same rate",
        "discrete cosine transform, Ahmed et al. 1974",
        None,
    ),
    "video_dc_ae": ModelSpec(
        "Video DC-AE f32t4c128 of Open-Sora 2.0",
        "arXiv 2503.09642",
        "hpcai-tech/Open-Sora-v2-Video-DC-AE/F32T4C128_AE.safetensors",
    ),
    "hunyuan_vae": ModelSpec(
        "causal 3D VAE of HunyuanVideo",
        "arXiv 2412.03603",
        "hpcai-tech/Open-Sora-v2/hunyuan_vae.safetensors",
    ),
}
DEFAULT_MODEL = next(iter(MODELS))

DIFFUSERS_CLASSES: dict[str, str] = {
    "AutoencoderKLHunyuanVideo": "HunyuanVideo",
    "AutoencoderKLHunyuanVideo15": "HunyuanVideo 1.5",
    "AutoencoderKLWan": "Wan 2.1 and 2.2",
    "AutoencoderKLCogVideoX": "CogVideoX",
    "AutoencoderKLLTXVideo": "LTX-Video",
    "AutoencoderKLLTX2Video": "LTX-2",
    "AutoencoderKLCosmos": "Cosmos tokenizer",
    "AutoencoderKLMochi": "Mochi",
    "AutoencoderKLMagvit": "EasyAnimate",
    "AutoencoderVidTok": "VidTok, causal",
    "AutoencoderDC": "DC-AE",
    "AutoencoderKL": "Stable Diffusion and FLUX",
}
"""The classes of `diffusers` that there is an adapter for, and the models that they are of."""


def find_spec(name: str) -> ModelSpec:
    """The entry of `MODELS`; ConfigError with the nearest name where there is none."""
    if name not in MODELS:
        check_choice("model", name, [*MODELS, f"{PREFIX}CLASS_OR_REPO"])
    return MODELS[name]


def needs_weights(name: str) -> bool:
    """Whether `load_autoencoder` asks for weights to be named: not for shipped models and diffusers' folders."""
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX) in DIFFUSERS_CLASSES
    return not find_spec(name).is_ready


def split_part(weights: str | os.PathLike) -> tuple[str, str | None]:
    """FILE#PART, as errors name one of several sets of tensors in a file, taken apart; PART is None without a #."""
    text = os.fspath(weights)
    if "#" not in text or Path(text).expanduser().exists():
        return text, None
    source, _, part = text.rpartition("#")
    return source, part
