"""The small generator test: a little flow-matching transformer, everything fixed but the latents that it learns.

SiT (Ma et al., arXiv 2401.08740) on blocks of standardised latents: it learns the velocity x1 - x0 of straight paths
from noise x0 to latents x1. Losses of two latent spaces do not compare as they are: the more a space looks like noise,
the larger is the part of the loss that nobody can learn. So the loss on held-out clips is divided, at each noise level,
by that of the best guess that knows only each number's mean and deviation, 1 / ((1 - t)^2 + t^2): 1 is nothing learnt
(white noise), and less means that there is structure which this network finds within its budget. Spaces of another
number of tokens or channels spread the same clip over more or fewer numbers; the share does not undo that.
Cost: minutes on a CPU (2 million parameters), some more on a GPU (25 million).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.probe.blocks import AS_USUAL, Cut, Place, cut
from workbench.steps import Progress, Steps

LEVELS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Times t from noise (0) to latents (1) at which held-out blocks are judged."""

SIZES = {"cpu": (192, 4), "cuda": (512, 8)}
"""Width and depth by device."""

_BATCH, _HELD_OUT, _RATE = 64, 256, 1e-3
_EULER_STEPS = 50
NEEDS_TWO = "`generator_steps`: a generator needs two clips or more, one of them to judge it on"


@dataclass(frozen=True)
class GeneratorResult:
    """What the generator learnt.

    Attributes:
        shares: its loss on held-out blocks over that of the best guess without structure, by level.
        share: their mean.
        training_loss: of the last tenth of the steps, as it is.
    """

    shares: dict[float, float]
    share: float
    training_loss: float
    parameters: int
    steps: int


@dataclass(frozen=True)
class Trained:
    """The generator itself, of blocks of latents of this size."""

    network: "SmallSiT"
    block: Place
    result: GeneratorResult


class SmallSiT(nn.Module):
    """Tokens (B, N, C) at times (B,) to velocities (B, N, C)."""

    def __init__(self, channels: int, tokens: int, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.enter, self.leave = nn.Linear(channels, width), nn.Linear(width, channels)
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        rates = torch.exp(-math.log(1e4) * torch.arange(self.width // 2, device=x.device) / (self.width // 2))
        angles = 1e3 * t[:, None] * rates
        condition = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))[:, None]
        hidden = self.enter(x) + self.position
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.leave(F.layer_norm(hidden, (self.width,)))


class _Block(nn.Module):
    """Attention and a two-layer network, each shifted, scaled and gated by the time (adaLN-Zero of DiT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 32
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        qkv = self.qkv(_norm(x) * (1 + scale_a) + shift_a)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + gate_a * self.mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_m * self.down(F.gelu(self.up(_norm(x) * (1 + scale_m) + shift_m)))


def train_generator(latents: Sequence[Tensor], steps: int, device: torch.device, how: Cut = AS_USUAL) -> Steps[Trained]:
    """Train on all clips but every fourth, and judge on those, as steps; the same in every run.

    Args:
        latents: (C, t, h, w) each, standardised.
        how: which blocks of them are learnt.

    Raises:
        ConfigError: there are fewer than two clips.
    """
    if len(latents) < 2:
        raise ConfigError(NEEDS_TWO)
    block = how.block_of(latents)
    held_out, training = latents[::4], [clip for index, clip in enumerate(latents) if index % 4]
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallSiT(latents[0].shape[0], math.prod(block), *SIZES.get(device.type, SIZES["cpu"])).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    losses = []
    for step in range(steps):
        x1 = draw_blocks(training, how, block, _BATCH, random).to(device)
        loss = flow_loss(network, x1, torch.rand(_BATCH, generator=random).to(device), random)
        optimiser.zero_grad()
        loss.mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.mean().item())
        yield Progress("generator", step + 1, steps)
    shares = judged(network, draw_blocks(held_out, how, block, _HELD_OUT, random).to(device), random)
    tail = losses[-max(1, steps // 10) :]
    count = sum(parameter.numel() for parameter in network.parameters())
    result = GeneratorResult(shares, sum(shares.values()) / len(shares), sum(tail) / len(tail), count, steps)
    return Trained(network, block, result)


@torch.no_grad()
def sample(trained: Trained, count: int) -> list[Tensor]:
    """Blocks (C, *block) that the generator makes of noise, standardised, on the CPU: Euler's method in 50 steps."""
    network, device = trained.network, trained.network.position.device
    random, blocks = torch.Generator().manual_seed(0), []
    shape = math.prod(trained.block), network.enter.in_features
    for begin in range(0, count, _BATCH):
        x = torch.randn(min(_BATCH, count - begin), *shape, generator=random).to(device)
        for step in range(_EULER_STEPS):
            t = torch.full((len(x),), step / _EULER_STEPS, device=device)
            x = x + network(x, t) / _EULER_STEPS
        blocks += [tokens.T.reshape(-1, *trained.block) for tokens in x.cpu()]
    return blocks


def _rate(step: int, steps: int) -> float:
    """Up over a tenth of the steps, and down to 0 as half a cosine."""
    return min(1, (step + 1) / max(1, steps // 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def draw_blocks(latents: Sequence[Tensor], how: Cut, block: Place, count: int, random: torch.Generator) -> Tensor:
    """Blocks (count, N, C) from random places of random clips."""
    drawn = []
    for _ in range(count):
        clip = latents[int(torch.randint(len(latents), (), generator=random))]
        (part,) = cut(clip, [how.draw(clip.shape[1:], block, random)], block)
        drawn.append(part.flatten(1).T)
    return torch.stack(drawn).float()


def flow_loss(network: nn.Module, x1: Tensor, t: Tensor, random: torch.Generator) -> Tensor:
    """Squared error (B,) of the velocity at times t, on straight paths from noise to x1 (B, N, C)."""
    x0 = torch.randn(x1.shape, generator=random).to(x1.device)
    at = t.view(-1, 1, 1)
    return (network((1 - at) * x0 + at * x1, t) - (x1 - x0)).square().mean((1, 2))


@torch.no_grad()
def judged(network: nn.Module, x1: Tensor, random: torch.Generator) -> dict[float, float]:
    """By level, the loss over that of the best guess which knows each number's deviation of 1 alone."""
    shares = {}
    for level in LEVELS:
        t = torch.full((len(x1),), level, device=x1.device)
        shares[level] = flow_loss(network, x1, t, random).mean().item() * ((1 - level) ** 2 + level**2)
    return shares


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
