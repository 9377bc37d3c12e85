"""Weights and clips that a formula rebuilds anywhere, so that numeric references need to store neither.

The references under `tests/reference/` are what the published implementations compute on them, float32 on a CPU.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn


def formula_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of one entry of a state dict, drawn from a generator seeded with its name."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(math.prod(shape))
    values = values.astype(np.float32).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(values)
    if len(shape) >= 2:
        values /= np.float32(math.sqrt(math.prod(shape[1:])))
        return values
    return 1 + 0.1 * values if name.endswith("weight") else 0.05 * values


def formula_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """A state dict of the model's names and shapes with formula weights; integer buffers stay as they are."""
    return {
        name: torch.from_numpy(np.asarray(formula_weight(name, tuple(value.shape)), np.float32))
        if value.is_floating_point()
        else value.clone()
        for name, value in model.state_dict().items()
    }


def load_formula_weights(model: nn.Module) -> None:
    """Copy the formula weights into the model, every name and shape being checked."""
    model.load_state_dict(formula_state_dict(model), strict=True)


def formula_clip(batch: int, frames: int, height: int, width: int, seed: int) -> Tensor:
    """A float32 clip (batch, 3, frames, height, width) in [-1, 1]: six moving sine waves per channel, clipped."""
    rng = np.random.default_rng(seed)
    t, y, x = (np.arange(size) / size for size in (frames, height, width))
    t, y = t[:, None, None], y[:, None]
    clip = np.zeros((batch, 3, frames, height, width))
    for channel in clip.reshape(-1, frames, height, width):
        for _ in range(6):
            fx, fy, ft = rng.uniform(0.5, 6, 3)
            phase = rng.uniform(0, 2 * np.pi)
            amplitude = rng.uniform(0.1, 0.4)
            channel += amplitude * np.sin(2 * np.pi * (fx * x + fy * y + ft * t) + phase)
    return torch.from_numpy(np.clip(clip, -1, 1).astype(np.float32))


def relative_error(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||, computed in float64."""
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm()).item()
