"""The networks of a run and what trains them: all that a step reads and changes."""

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import AdamW

from workbench.metrics.lpips import LPIPS
from workbench.models.base import Autoencoder
from workbench.training.distillation import Distillation
from workbench.training.ema import EMA
from workbench.training.latent_losses.alignment import Alignment


@dataclass
class Networks:
    """All that a step reads and changes.

    Attributes:
        autoencoder: the model itself, whose parameters have their published names.
        generator: what is called in training: the model, or DDP around it. FSDP2 changes the model in place.
        discriminator: the PatchGAN itself; None but in stage disc.
        judge: `RealAndFake` around it, or DDP around that; None where the discriminator is.
        lpips: the frozen LPIPS network; None where its weight is 0.
        alignment: the frozen vision network and its trained projection; None where its weight is 0.
        distillation: the teacher's decoder and trained projections; None where its weight is 0.
        beside: what losses train beside the autoencoder, by the name of the loss.
        discriminator_optimizer: None where the discriminator is.
    """

    autoencoder: Autoencoder
    generator: nn.Module
    optimizer: AdamW
    ema: EMA
    discriminator: nn.Module | None = None
    judge: nn.Module | None = None
    discriminator_optimizer: AdamW | None = None
    lpips: LPIPS | None = None
    alignment: Alignment | None = None
    distillation: Distillation | None = None
    beside: dict[str, "Beside"] = field(default_factory=dict)

    @property
    def optimizers(self) -> list[AdamW]:
        """All of them."""
        others = [beside.optimizer for beside in self.beside.values()]
        return [self.optimizer, *filter(None, [self.discriminator_optimizer]), *others]

    @property
    def against(self) -> "Adversary":
        """What stage disc has.

        Raises:
            ValueError: it is another stage.
        """
        if self.discriminator is None or self.judge is None or self.discriminator_optimizer is None:
            raise ValueError("only stage disc has a discriminator")
        return Adversary(self.discriminator, self.judge, self.discriminator_optimizer)


@dataclass(frozen=True)
class Beside:
    """A network that a loss trains beside the autoencoder, outside of DDP, and its optimiser."""

    network: nn.Module
    optimizer: AdamW


@dataclass(frozen=True)
class Adversary:
    """The discriminator's side of `Networks`, all of it there."""

    discriminator: nn.Module
    judge: nn.Module
    optimizer: AdamW


class RealAndFake(nn.Module):
    """Logits of real and of reconstructed clips in one call, so that DDP sees one forward for one backward pass."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(real), self.discriminator(fake)
