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

    @property
    def is_shipped(self) -> bool:
        """Whether weights of it are a part of this project."""
        return isinstance(self.weights, Path)


MODELS: dict[str, ModelSpec] = {
    "tiny": ModelSpec(
        "small model of the Video DC-AE's rate: a learned residual beside an adaptive block DCT, trained on free clips",
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
    "dc_ae_v": ModelSpec(
        "chunk-causal DC-AE-V f32t4c32 of DC-VideoGen; weights of c64, c128, c256 and f64t4c128 load too",
        "arXiv 2509.25182",
        "nvidia/DC-VideoGen-Wan2.1-14B/dc-ae-v-f32t4c32-1.0-bf16.pt",
    ),
    "hunyuan_vae": ModelSpec(
        "causal 3D VAE of HunyuanVideo",
        "arXiv 2412.03603",
        "hpcai-tech/Open-Sora-v2/hunyuan_vae.safetensors",
    ),
    "taehv": ModelSpec(
        "small autoencoders for the latents of Wan, HunyuanVideo, CogVideoX, LTX-2 and MiniMax-H3, each its own file",
        "github.com/madebyollin/taehv (MIT)",
        "lightx2v/Autoencoders/taew2_1.safetensors",
    ),
}
DEFAULT_MODEL = next(iter(MODELS))
BASELINE = "dct"
"""The linear transform of the rate of the model above, which every comparison includes."""


@dataclass(frozen=True)
class DiffusersSpec:
    """A class of `diffusers` that there is an adapter for.

    Attributes:
        of: the models that it is of.
        frames: how many frames it takes at once; k is any number.
        tiles: what tiles mean to it. `free`: a tile of any size is a smaller clip, and its borders show. `exact
            without`: the same, but unless tiles are asked for it is streamed, and nothing is cut. `its own`: they are a
            part of the model, so that other sizes are refused.
        hub: where its weights are on the Hub, org/repo or org/repo/folder; empty where not known.
        licence: of those weights, as their page or their authors say; empty where that was not to be seen.
    """

    of: str
    frames: str
    tiles: str = "free"
    hub: str = ""
    licence: str = ""


_ANY = "any, one by one"
DIFFUSERS_CLASSES: dict[str, DiffusersSpec] = {
    "AutoencoderKLHunyuanVideo": DiffusersSpec("HunyuanVideo", "1 + 4k", hub="hunyuanvideo-community/HunyuanVideo/vae"),
    "AutoencoderKLHunyuanVideo15": DiffusersSpec(
        "HunyuanVideo 1.5", "1 + 4k", hub="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v/vae"
    ),
    "AutoencoderKLWan": DiffusersSpec(
        "Wan 2.1 and 2.2", "1 + 4k", "exact without", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers/vae", "Apache-2.0"
    ),
    "AutoencoderKLCogVideoX": DiffusersSpec("CogVideoX", "1 + 4k", hub="THUDM/CogVideoX-5b/vae"),
    "AutoencoderKLLTXVideo": DiffusersSpec("LTX-Video", "1 + 8k", hub="Lightricks/LTX-Video/vae"),
    "AutoencoderKLLTX2Video": DiffusersSpec("LTX-2", "1 + 8k", hub="Lightricks/LTX-2/vae"),
    "LTX2VideoDiffusionDecoderModel": DiffusersSpec(
        "LTX-2.5, a decoder alone (--decoder)", "1 + 8k", hub="Lightricks/LTX-2.5-Diffusers/diffusion_decoder"
    ),
    "AutoencoderKLCosmos": DiffusersSpec(
        "Cosmos tokenizer", "1 + 8k", hub="nvidia/Cosmos-1.0-Diffusion-7B-Text2World/vae"
    ),
    "AutoencoderKLMochi": DiffusersSpec("Mochi", "1 + 6k", hub="genmo/mochi-1-preview/vae"),
    "AutoencoderKLMagvit": DiffusersSpec("EasyAnimate", "1 + 4k", hub="alibaba-pai/EasyAnimateV5.1-12b-zh/vae"),
    "AutoencoderVidTok": DiffusersSpec(
        "VidTok: KL and FSQ, causal and not", "1 + 4k, or 4k", hub="microsoft/VidTok (.ckpt)", licence="MIT"
    ),
    "AutoencoderKLAllegro": DiffusersSpec("Allegro", "4k", hub="rhymes-ai/Allegro/vae", licence="Apache-2.0"),
    "AutoencoderKLKVAEVideo": DiffusersSpec("KVAE 3D", "1 + 4k", "exact without", "kandinskylab/KVAE-3D-1.0", "MIT"),
    "Kandinsky6SRVAE": DiffusersSpec(
        "Kandinsky 6", "1 + 4k", "exact without", "kandinskylab/Kandinsky-6.0-VSR-5s-Diffusers/vae"
    ),
    "AutoencoderKLMiniMaxH3": DiffusersSpec(
        "MiniMax-H3", "5 + 17k", "its own, 256 px", "MiniMaxAI/MiniMax-H3/vae", "MiniMax-H3 community"
    ),
    "AutoencoderKLTemporalDecoder": DiffusersSpec("Stable Video Diffusion", "any"),
    "AutoencoderDC": DiffusersSpec(
        "DC-AE", _ANY, hub="mit-han-lab/dc-ae-f32c32-mix-1.0-diffusers", licence="Apache-2.0"
    ),
    "AutoencoderKL": DiffusersSpec("Stable Diffusion and FLUX", _ANY),
    "AutoencoderTiny": DiffusersSpec("TAESD", _ANY, hub="madebyollin/taesd"),
    "AutoencoderKLFlux2": DiffusersSpec("FLUX.2", _ANY, hub="black-forest-labs/FLUX.2-dev/vae", licence="Apache-2.0"),
    "AutoencoderKLHunyuanImage": DiffusersSpec(
        "HunyuanImage 2.1", _ANY, hub="hunyuanvideo-community/HunyuanImage-2.1-Diffusers/vae"
    ),
    "AutoencoderKLHunyuanImageRefiner": DiffusersSpec("HunyuanImage 2.1, refiner", _ANY),
    "AutoencoderKLKVAE": DiffusersSpec("KVAE 2D", _ANY, hub="kandinskylab/KVAE-2D-1.0/diffusers", licence="MIT"),
    "AutoencoderRAE": DiffusersSpec("RAE", _ANY, "its own, squares"),
    "AutoencoderKLQwenImage": DiffusersSpec("Qwen-Image", _ANY, hub="Qwen/Qwen-Image/vae"),
    "AutoencoderKLQwenImage21": DiffusersSpec("Qwen-Image 2.1", _ANY, hub="Qwen/Qwen-Image-2.1/vae"),
}
"""The classes of `diffusers` that there is an adapter for; strides and channels are read from a model's configuration.
Names on the Hub are those of the documentation of diffusers 0.42, licences those of the weights' pages, November 2026.
"""


def diffusers_facts(name: str) -> dict[str, str]:
    """What a class of DIFFUSERS_CLASSES is and takes."""
    spec = DIFFUSERS_CLASSES[name]
    return {"class of diffusers": name, "of": spec.of, "frames": spec.frames, "tiles": spec.tiles}


def diffusers_source(name: str) -> dict[str, str]:
    """Where its weights are."""
    spec = DIFFUSERS_CLASSES[name]
    where = {"on the Hub": spec.hub, "licence": spec.licence}
    return {"class of diffusers": name, **{column: value or "not known" for column, value in where.items()}}


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
