"""What changes over a run: functions of the step alone, so that a run that is resumed needs no schedule saved."""

import math

from workbench.training.config import TrainConfig


def rate_factor(step: int, config: TrainConfig) -> float:
    """Factor of all learning rates at a step, from 0: rises linearly to 1 over `warmup_steps`, then, where
    `lr_schedule` is cosine, falls to 0 at `max_steps` (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.lr_schedule == "constant" or config.max_steps is None or rise < 1.0:
        return rise
    done = (step + 1 - config.warmup_steps) / (config.max_steps + 1 - config.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def all_losses_on(config: TrainConfig) -> int:
    """A step at which every loss counts, and the discriminator is trained."""
    starts = config.gen_loss_config.gen_start, config.disc_loss_config.disc_start
    return max(*starts, config.vae_loss_config.perceptual_start)


def perceptual_weight(step: int, config: TrainConfig) -> float:
    """Weight of LPIPS at a step, from 0: none before `perceptual_start`, then a linear rise to its full value over
    `perceptual_ramp` steps."""
    losses = config.vae_loss_config
    into = step + 1 - losses.perceptual_start
    return losses.perceptual_loss_weight * min(max(into / max(losses.perceptual_ramp, 1), 0.0), 1.0)
