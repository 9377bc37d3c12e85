"""Every setting of a training run, with the option names of the published recipe (Open-Sora 2.0, arXiv 2503.09642)."""

from dataclasses import dataclass, fields
from typing import Any

from workbench.config import check_choice, check_range, check_ranges, setting
from workbench.data.settings import BucketConfig, DataConfig
from workbench.errors import ConfigError

STAGES = ("ae", "disc", "decoder")
PARALLEL = ("ddp", "fsdp")
OPTIMIZERS = ("adamw", "muon")
LR_SCHEDULES = ("constant", "cosine")
FREEZABLE = ("encoder",)
PRECISIONS = ("float32", "bfloat16")
RECONSTRUCTION_LOSSES = ("l1", "l2", "rmse")
DISCRIMINATOR_LOSSES = ("hinge", "vanilla")
DISCRIMINATOR_NORMS = ("batch", "group")


@dataclass(frozen=True)
class ModelConfig:
    """The autoencoder that is trained."""

    name: str = setting("video_dc_ae", "a name in wb.MODELS")
    architecture: dict[str, Any] = setting({}, "fields of the model's configuration that differ from the named model")
    from_pretrained: str | None = setting(
        None, "weights to start from: a .safetensors or .pt file, a checkpoint folder or org/repo/file on the Hub"
    )
    freeze: str | None = setting(None, "encoder: its weights stay, and so do the latents; stage decoder has it anyway")
    disc_off_grad_ckpt: bool = setting(
        False, "keep the decoder's last layer out of gradient checkpointing: the adaptive weight needs its gradient"
    )
    channels_last: bool = setting(False, "store convolution weights and activations channels-last")
    compile: bool = setting(False, "compile the autoencoder with torch.compile")

    def __post_init__(self) -> None:
        if self.freeze is not None:
            check_choice("model.freeze", self.freeze, FREEZABLE)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The 3D PatchGAN of stage disc."""

    norm: str = setting("batch", "batch (synchronised across ranks) or group, which does not depend on the batch size")
    channels: int = setting(64, "width of the first layer; later ones are up to 8 times as wide")
    lr: float = setting(1e-4, "learning rate of the discriminator")

    def __post_init__(self) -> None:
        check_choice("discriminator.norm", self.norm, DISCRIMINATOR_NORMS)
        check_ranges(self, "discriminator", channels=1, lr=0.0)


@dataclass(frozen=True)
class VAELossConfig:
    """The reconstruction loss, and the weights of those next to it."""

    reconstruction: str = setting(
        "l1", "l1 (the recipe), l2 (squared error), or rmse (the root of every clip's squared error)"
    )
    perceptual_loss_weight: float = setting(0.5, "weight of LPIPS (VGG); above 0 its network must be here: fetch lpips")
    perceptual_start: int = setting(0, "step from which LPIPS counts; before it costs nothing")
    perceptual_ramp: int = setting(0, "steps over which its weight rises linearly from there")
    perceptual_every: int = setting(1, "LPIPS of every so-manieth frame of a clip, others at every step: it is slow")
    temporal_loss_weight: float = setting(
        0.0, "weight of the error of the changes from frame to frame: less flicker, truer motion; try 0.25"
    )
    kl_loss_weight: float = setting(0.0, "weight of the KL divergence; models without a posterior take 0 only")

    def __post_init__(self) -> None:
        check_choice("vae_loss_config.reconstruction", self.reconstruction, RECONSTRUCTION_LOSSES)
        weights = {"perceptual_loss_weight": 0.0, "temporal_loss_weight": 0.0, "kl_loss_weight": 0.0}
        check_ranges(self, "vae_loss_config", perceptual_start=0, perceptual_ramp=0, perceptual_every=1, **weights)


@dataclass(frozen=True)
class GeneratorLossConfig:
    """The adversarial part of the autoencoder's loss in stage disc."""

    gen_start: int = setting(0, "step from which the autoencoder is trained against the discriminator")
    disc_weight: float = setting(0.05, "weight of the adversarial loss, times the adaptive weight")

    def __post_init__(self) -> None:
        check_ranges(self, "gen_loss_config", gen_start=0, disc_weight=0.0)


@dataclass(frozen=True)
class DiscriminatorLossConfig:
    """The discriminator's own loss in stage disc."""

    disc_start: int = setting(0, "step from which the discriminator is trained")
    disc_loss_type: str = setting("hinge", "hinge, or vanilla (softplus)")

    def __post_init__(self) -> None:
        check_ranges(self, "disc_loss_config", disc_start=0)
        check_choice("disc_loss_config.disc_loss_type", self.disc_loss_type, DISCRIMINATOR_LOSSES)


@dataclass(frozen=True)
class LatentLossConfig:
    """Weights of losses that make latents easier to generate; see `workbench.training.latent_losses`."""

    scale_equivariance: float = setting(0.0, "SE: smaller latents decode to the smaller clip; try 0.25")
    equivariance: float = setting(0.0, "EQ-VAE: turned and smaller latents decode to that; try 0.5")
    masked_reconstruction: float = setting(0.0, "SSVAE: the clip out of latents some of which are missing; try 0.5")
    noise: float = setting(0.0, "the clip out of noisy latents, as RAE; try 0.5")
    high_band_dropout: float = setting(0.0, "LC-VAE: the clip out of the smooth part of the latents; try 0.25")
    local_correlation: float = setting(0.0, "SSVAE: neighbouring latents alike up to a correlation of 0.75; try 0.02")
    alignment: float = setting(
        0.0, "VA-VAE: latents like the features of alignment_config.network, times an adaptive weight; try 0.5"
    )

    def __post_init__(self) -> None:
        check_ranges(self, "latent_loss_config", **{field.name: 0.0 for field in fields(self)})

    @property
    def weights(self) -> dict[str, float]:
        """Those above 0, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: weight for name, weight in values.items() if weight > 0}


@dataclass(frozen=True)
class AlignmentConfig:
    """The frozen vision network of `latent_loss_config.alignment`, and how far latents may differ from it for free."""

    network: str = setting(
        "facebook/dinov2-large/model.safetensors",
        "dinov2_vitl14 (vits14, vitb14, with _reg; as torch.hub keeps them), a file or folder of DINOv2's weights, "
        "org/repo/file on the Hub, or vgg (fetch lpips)",
    )
    distance_margin: float = setting(0.0, "difference of two cosines between places that costs nothing; late: 0.25")
    cosine_margin: float = setting(0.0, "what a cosine of mapped latents and features may lack of 1; late: 0.5")

    def __post_init__(self) -> None:
        check_ranges(self, "alignment_config", distance_margin=(0.0, 2.0), cosine_margin=(0.0, 2.0))


@dataclass(frozen=True)
class DistilConfig:
    """What a decoder of stage decoder learns from the one that it replaces; see `workbench.training.distillation`."""

    weight: float = setting(0.0, "weight of the match of features; only stage decoder has a teacher")
    stages: int = setting(2, "first stages of both decoders whose features are matched")

    def __post_init__(self) -> None:
        check_ranges(self, "distil_config", weight=0.0, stages=1)


@dataclass(frozen=True)
class ValidationConfig:
    """The pass with EMA weights, before the first step and every `eval_every` steps."""

    data_path: str | None = setting(None, "index of clips kept from training; without it, clips of the training index")
    clips: int | None = setting(
        None, "clips measured in one pass, over all ranks; by default all of validation.data_path, 8 of the training's"
    )

    def __post_init__(self) -> None:
        check_ranges(self, "validation", clips=1)


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The defaults are stage `ae` of the published recipe; see `workbench.training.presets`."""

    stage: str = setting(
        "ae",
        "ae (reconstruction); disc (the same against a discriminator, from an ae checkpoint); decoder (a decoder, new "
        "where `model.architecture` changes it, for the frozen encoder of `model.from_pretrained`)",
    )
    preset: str = setting("video_dc_ae", "a name in PRESETS; stages disc and decoder take its NAME_STAGE variant")
    save_dir: str = setting("", "run folder; by default outputs/PRESET")
    resume: str | None = setting(
        None, "latest, or a checkpoint folder: continue that run exactly; no code in a checkpoint is run"
    )
    print_config: bool = setting(False, "print the resolved configuration and stop")
    dry_run: bool = setting(
        False,
        "build everything, make a step of the largest batch, report its time and memory, and stop; on a CPU the step is"
        " counted first, and made only where it is small",
    )
    dataset: DataConfig = DataConfig()
    bucket_config: BucketConfig = setting(
        {"256px_ar1:1": {32: (1.0, 1)}}, "resolution -> frames -> (probability, batch size of one rank)"
    )
    image_probability: float = setting(0.2, "probability that a batch is cut to the first frame of its clips")
    model: ModelConfig = ModelConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    vae_loss_config: VAELossConfig = VAELossConfig()
    gen_loss_config: GeneratorLossConfig = GeneratorLossConfig()
    disc_loss_config: DiscriminatorLossConfig = DiscriminatorLossConfig()
    latent_loss_config: LatentLossConfig = LatentLossConfig()
    alignment_config: AlignmentConfig = AlignmentConfig()
    distil_config: DistilConfig = DistilConfig()
    optimizer: str = setting(
        "adamw", "of the autoencoder: adamw (the recipe), or muon (orthogonal updates: fewer steps; not with fsdp)"
    )
    lr: float = setting(5e-5, "learning rate of the autoencoder")
    betas: tuple[float, float] = setting((0.9, 0.98), "AdamW's decay rates, of both optimisers")
    eps: float = setting(1e-8, "AdamW's epsilon, of both optimisers")
    weight_decay: float = setting(0.0, "AdamW's weight decay, of both optimisers")
    grad_clip: float = setting(1.0, "largest gradient norm of each network")
    warmup_steps: int = setting(0, "steps over which both learning rates rise linearly to their value")
    lr_schedule: str = setting(
        "constant", "after the warm-up: constant, or cosine (both learning rates fall to 0 at `max_steps`)"
    )
    grad_accumulation: int = setting(1, "batches of each rank in one step")
    ema_decay: float = setting(0.99, "decay per step of the averaged weights")
    precision: str | None = setting(None, "bfloat16 (autocast, GPUs only) or float32; by default the first on a GPU")
    grad_checkpoint: bool = setting(False, "recompute activations in the backward pass: less memory, more time")
    parallel: str = setting("ddp", "ddp (a replica on each rank), or fsdp (the autoencoder sharded over the ranks)")
    device: str | None = setting(None, "cuda or cpu; by default the GPU where there is one")
    epochs: int = setting(100, "passes over the index")
    max_steps: int | None = setting(None, "stop after this many steps, if the epochs do not end before")
    log_every: int = setting(10, "steps between two entries in the log")
    ckpt_every: int = setting(3000, "steps between two checkpoints; the last step always has one")
    keep_n_latest: int = setting(50, "checkpoints kept")
    eval_every: int = setting(3000, "steps between two validation passes; the last step always has one")
    validation: ValidationConfig = ValidationConfig()
    skip_nonfinite: int = setting(0, "steps with a NaN or Inf that may be left out before the run stops")
    seed: int = setting(42, "seed of weights, order of clips, crops and dropout")
    tensorboard: bool = setting(True, "write TensorBoard events to the run folder")
    wandb: bool = setting(False, "log to Weights & Biases too (needs `pip install wandb`; WANDB_MODE=offline works)")

    def __post_init__(self) -> None:
        check_choice("stage", self.stage, STAGES)
        check_choice("parallel", self.parallel, PARALLEL)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        if self.lr_schedule == "cosine" and self.max_steps is None:
            raise ConfigError("`lr_schedule` cosine falls to 0 at `max_steps`: give it")
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ConfigError("`optimizer` muon: needs whole weight matrices; use `parallel` ddp, or adamw")
        if self.latent_loss_config.weights and self.parallel == "fsdp":
            name = next(iter(self.latent_loss_config.weights))
            raise ConfigError(f"`latent_loss_config.{name}`: works outside of the sharded pass; use `parallel` ddp")
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)
        for beta in self.betas:
            check_range("betas", beta, 0.0, 0.999999)
        check_ranges(self, image_probability=(0.0, 1.0), ema_decay=(0.0, 1.0))
        check_ranges(self, lr=0.0, weight_decay=0.0, warmup_steps=0.0, skip_nonfinite=0.0)
        check_ranges(self, grad_accumulation=1, epochs=1, log_every=1, ckpt_every=1, keep_n_latest=1, eval_every=1)
        check_ranges(self, max_steps=1)
        for name in ("eps", "grad_clip"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"`{name}`: {getattr(self, name)} must be above 0")
        self._check_frozen()
        self._check_distillation()
        self._check_adversarial_checkpointing()

    @property
    def keeps_encoder(self) -> bool:
        """Whether the encoder's weights stay as they are."""
        return self.stage == "decoder" or self.model.freeze == "encoder"

    def _check_distillation(self) -> None:
        if self.distil_config.weight > 0.0 and self.stage != "decoder":
            raise ConfigError(f"`distil_config.weight`: stage {self.stage} has no teacher; use stage decoder, or 0")
        if self.distil_config.weight > 0.0 and self.parallel == "fsdp":
            raise ConfigError("`distil_config.weight`: works outside of the sharded pass; use `parallel` ddp")

    def _check_frozen(self) -> None:
        """Refuse losses that could only train the encoder."""
        latent = self.latent_loss_config
        weights = {
            "vae_loss_config.kl_loss_weight": self.vae_loss_config.kl_loss_weight,
            "latent_loss_config.local_correlation": latent.local_correlation,
            "latent_loss_config.alignment": latent.alignment,
        }
        for name, weight in weights.items():
            if self.keeps_encoder and weight > 0.0:
                raise ConfigError(f"`{name}` {weight:g} trains latents, and the encoder is frozen: use 0")

    def _check_adversarial_checkpointing(self) -> None:
        if self.stage == "disc" and self.grad_checkpoint and not self.model.disc_off_grad_ckpt:
            raise ConfigError(
                "`model.disc_off_grad_ckpt`: stage disc with `grad_checkpoint` True needs it True; "
                "the adaptive weight takes the gradient of the decoder's last layer"
            )
