"""Runs by name. A preset is what differs from `TrainConfig`'s defaults, the published stage `ae`."""

from collections.abc import Mapping
from typing import Any

from workbench.config import check_choice, override
from workbench.errors import ConfigError
from workbench.media.files import EXAMPLE_INDEX
from workbench.training.config import STAGES, TrainConfig

# What stage disc changes, the same for all: gradient checkpointing pays for the discriminator's memory.
DISC = {"stage": "disc", "grad_checkpoint": True, "model.disc_off_grad_ckpt": True}

LONGER = {"bucket_config": {"256px_ar1:1": {96: (1.0, 1)}}, "grad_checkpoint": True}
LARGER = {"bucket_config": {"512px_ar1:1": {32: (1.0, 1)}}, "grad_checkpoint": True}

# The stage that Open-Sora 2.0 names and never published, by VA-VAE's schedule: from scratch with the full weight, then
# against the discriminator with little of it, and margins.
ALIGN = {"latent_loss_config.alignment": 0.5}
ALIGN_LATE = {
    "latent_loss_config.alignment": 0.1,
    "alignment_config.distance_margin": 0.25,
    "alignment_config.cosine_margin": 0.5,
}

# Stage decoder: latents stay. With LARGER it is the second half of "low resolution first, then the frozen encoder".
DECODER = {"stage": "decoder"}

# A new decoder of Turbo-VAED's shape: an eighth of the parameters of the Video DC-AE's, a hundredth of its operations.
TURBO = {
    "model.architecture": {"decoder_widths": (48, 96, 192, 384), "decoder_depths": (4, 3, 3, 7)},
    "distil_config.weight": 1.0,
    "lr": 1e-4,
}

# The successor with 2.1 billion parameters, for clips of two chunks, so that the second learns to look into the first.
DC_AE_V = {"model.name": "dc_ae_v", "bucket_config": {"256px_ar1:1": {80: (1.0, 1)}}, "grad_checkpoint": True}

# The shipped model, for crops as `python -m workbench pack` cuts them. It starts as its block transform.
TINY = {
    "model.name": "tiny",
    "bucket_config": {"128px_ar1:1": {8: (1.0, 1)}},  # many small steps: what pays on a CPU
    "image_probability": 0.1,
    "optimizer": "muon",
    "lr": 1.5e-3,
    "warmup_steps": 100,
    "ema_decay": 0.999,
    "vae_loss_config.reconstruction": "rmse",
    "vae_loss_config.temporal_loss_weight": 0.25,
    "vae_loss_config.perceptual_loss_weight": 0.0,  # a GPU affords it late, see the model card
    "ckpt_every": 500,
    "keep_n_latest": 3,
    "eval_every": 500,
}

# Shows in under a minute on a CPU that everything works; its model is good for nothing.
DEBUG: dict[str, Any] = {
    "dataset.data_path": str(EXAMPLE_INDEX),
    "dataset.num_workers": 0,
    "model.architecture": {
        "widths": (16, 16, 32, 32, 32, 32),
        "encoder_depths": (1, 1, 1, 1, 1, 1),
        "decoder_depths": (1, 1, 1, 1, 1, 1),
        "latent_channels": 32,
    },
    "bucket_config": {"64px_ar1:1": {4: (1.0, 2)}},
    "discriminator.channels": 16,
    "lr": 2e-3,
    "ema_decay": 0.9,
    "vae_loss_config.perceptual_loss_weight": 0.0,  # most of the time of a CPU
    "epochs": 10_000,
    "max_steps": 40,
    "log_every": 5,
    "ckpt_every": 20,
    "eval_every": 20,
    "validation.clips": 4,
}

PRESETS: dict[str, dict[str, Any]] = {
    "video_dc_ae": {},
    "video_dc_ae_disc": DISC,
    "video_dc_ae_96f": LONGER,
    "video_dc_ae_96f_disc": LONGER | DISC,
    "video_dc_ae_512px": LARGER,
    "video_dc_ae_512px_disc": LARGER | DISC,
    "video_dc_ae_decoder": DECODER,
    "video_dc_ae_512px_decoder": LARGER | DECODER,
    "video_dc_ae_turbo_decoder": DECODER | TURBO,
    "video_dc_ae_turbo_disc": DISC | {"model.freeze": "encoder"},
    "video_dc_ae_align": ALIGN,
    "video_dc_ae_align_disc": ALIGN_LATE | DISC,
    "dc_ae_v": DC_AE_V,
    "dc_ae_v_decoder": DC_AE_V | DECODER,
    "dc_ae_v_disc": DC_AE_V | DISC,
    "tiny": TINY,
    "tiny_decoder": TINY | DECODER,
    "tiny_disc": TINY | DISC | {"grad_checkpoint": False, "lr": 2e-4},
    "debug": DEBUG,
    "debug_decoder": DEBUG
    | DECODER
    | {
        "model.architecture": {
            **DEBUG["model.architecture"],
            "decoder_widths": (8, 8, 16, 16),
            "decoder_depths": (1, 1, 1, 1),
        },
        "distil_config.weight": 1.0,
    },
    "debug_disc": DEBUG | DISC | {"lr": 5e-4, "max_steps": 20},
}


def preset_config(flags: Mapping[str, Any]) -> TrainConfig:
    """The configuration that `stage` and `preset` among a command line's flags name, before its other flags.

    Stages `disc` and `decoder` of preset NAME are presets NAME_disc and NAME_decoder.

    Raises:
        ConfigError: the stage or the preset is unknown, or they contradict each other.
    """
    name = flags.get("preset", "video_dc_ae")
    stage = flags.get("stage", PRESETS.get(name, {}).get("stage", "ae"))
    check_choice("stage", stage, STAGES)
    if f"{name}_{stage}" in PRESETS:
        name = f"{name}_{stage}"
    check_choice("preset", name, PRESETS)
    if PRESETS[name].get("stage", "ae") != stage:
        raise ConfigError(f"`stage` {stage}: preset {name} is of stage {PRESETS[name].get('stage', 'ae')}")
    return override(TrainConfig(), {**PRESETS[name], "preset": name, "save_dir": f"outputs/{name}"})
