"""Clips made of photographs: windows that move over them, layers in front of each other, and what cameras do to them.

Films for training are few and photographs many; these move with all their sharp detail.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.media.video import to_float, to_uint8

_MAX_SHIFT = 0.03  # of the window's side per frame
_MAX_ZOOM = 0.15
_MAX_TURN = math.radians(10.0)
_SHUTTER = 4
"""Moments that a blurred frame is the mean of."""

_CHANCES = (0.5, 0.3, 0.3, 0.2, 0.1, 0.1)
"""How often a scene has a layer in front, motion blur, noise, light that changes, a cut, and stands still."""


def move_over(photo_CHW: Tensor, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """A clip of a window that pans, zooms and turns at a constant rate over a photo.

    Args:
        photo_CHW: uint8 (3, H, W), both sides at least `side`.

    Returns:
        uint8 (frames, 3, side, side), sampled bicubically at the photo's own resolution or up to 15 % from it.
    """
    return to_uint8(_window(photo_CHW, _moments(frames, photo_CHW.device), frames, side, generator))


def moving_scene(photo_CHW: Tensor, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """A clip of a photo as a camera might see it, by chance.

    A second window of the photo moves in front of the first, seen through an ellipse (parallax, occlusion); the shutter
    blurs what moves; light rises, falls or flickers; sensors are noisy; films are cut.

    Args and returns as of `move_over`.
    """
    layer, blur, noise, light, cut, still = (torch.rand(6, generator=generator) < torch.tensor(_CHANCES)).tolist()
    blur = blur and not still
    time = (0.0 if still else 1.0) * _moments(frames * _SHUTTER if blur else frames, photo_CHW.device)
    scene = _window(photo_CHW, time, frames, side, generator)
    if layer:
        mask = _ellipse(time, side, generator)
        scene = scene + mask * (_window(photo_CHW, time, frames, side, generator) - scene)
    if blur:
        scene = scene.unflatten(0, (frames, _SHUTTER)).mean(1)
    if cut:
        time = _moments(frames, photo_CHW.device)
        at = int(torch.randint(frames, (), generator=generator))
        scene[at:] = _window(photo_CHW, time, frames, side, generator)[at:]
    if light:
        scene = _lit(scene, generator)
    if noise:
        deviation = 0.04 * torch.rand((), generator=generator).item()
        scene = scene + deviation * _noise(scene, generator)
    return to_uint8(scene)


def coloured(frames_TCHW: Tensor, generator: torch.Generator) -> Tensor:
    """A clip, uint8 (T, 3, H, W), with another contrast, brightness, saturation and white, the same in all frames."""
    contrast, saturation = torch.empty(2).uniform_(0.7, 1.3, generator=generator).tolist()
    brightness = torch.empty(()).uniform_(-0.15, 0.15, generator=generator).item()
    white = torch.empty(3).uniform_(0.92, 1.08, generator=generator).view(3, 1, 1).to(frames_TCHW.device)
    x = to_float(frames_TCHW)
    grey = x.mean(1, keepdim=True)
    return to_uint8(white * (contrast * (grey + saturation * (x - grey)) + brightness))


def mirrored(frames_TCHW: Tensor, generator: torch.Generator) -> Tensor:
    """A clip, (T, C, H, W), half of the times mirrored, and half of the times run backwards."""
    in_time, in_space = (torch.rand(2, generator=generator) < 0.5).tolist()
    return frames_TCHW.flip([0] * in_time + [3] * in_space)


def _moments(count: int, device: torch.device) -> Tensor:
    return torch.linspace(-0.5, 0.5, count, dtype=torch.float64, device=device)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """White noise where the clip is, which a generator of the CPU starts."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return torch.randn(like.shape, generator=torch.Generator(like.device).manual_seed(seed), device=like.device)


def _window(photo_CHW: Tensor, time: Tensor, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """What a moving window shows at these moments of a clip of so many frames: (moments, 3, side, side) in [-1, 1]."""
    height, width = photo_CHW.shape[1:]
    draw = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    turn = (2 * draw[0] - 1) * _MAX_TURN * time
    zoom = torch.exp((2 * draw[1] - 1) * _MAX_ZOOM * time)
    direction, speed = 2 * math.pi * draw[2], draw[3] ** 2 * _MAX_SHIFT * side * frames
    shifts = [speed * math.cos(direction) * time, speed * math.sin(direction) * time]
    centres = [draw[4 + axis] * (size - side) + side / 2 for axis, size in enumerate((width, height))]
    x, y = _offsets(side, time.device)
    cos, sin = (f(turn)[:, None, None] * zoom[:, None, None] for f in (torch.cos, torch.sin))
    columns = cos * x - sin * y + (centres[0] + shifts[0])[:, None, None]
    rows = sin * x + cos * y + (centres[1] + shifts[1])[:, None, None]
    grid = torch.stack([2 * columns / width - 1, 2 * rows / height - 1], dim=-1).float()
    photo = to_float(photo_CHW)[None].expand(len(time), -1, -1, -1)
    return F.grid_sample(photo, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def _ellipse(time: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """An ellipse that crosses the window: 1 inside, 0 outside, (moments, 1, side, side), its edge a pixel soft."""
    draw = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    radii = [side * (0.1 + 0.25 * part) for part in draw[:2]]
    turn, direction = math.pi * draw[2], 2 * math.pi * draw[3]
    way = side * draw[4] * time[:, None, None]
    x, y = _offsets(side, time.device)
    x = x - side * (draw[5] - 0.5) - math.cos(direction) * way
    y = y - side * (draw[6] - 0.5) - math.sin(direction) * way
    along, across = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
    outside = ((along / radii[0]) ** 2 + (across / radii[1]) ** 2).sqrt() - 1.0
    return (0.5 - outside * min(radii)).clamp(0.0, 1.0).float()[:, None]


def _lit(scene: Tensor, generator: torch.Generator) -> Tensor:
    """Light that rises or falls over the clip, and flickers a little from frame to frame."""
    rise, depth = torch.empty(2).uniform_(-0.2, 0.2, generator=generator).tolist()
    frames = len(scene)
    gain = 1.0 + torch.linspace(-rise, rise, frames) + 0.1 * depth * torch.randn(frames, generator=generator)
    return (scene + 1.0) * gain.view(-1, 1, 1, 1).to(scene.device) - 1.0


def _offsets(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Columns and rows of a square of pixels, from its centre, (side, side) each."""
    offset = torch.arange(side, dtype=torch.float64, device=device) - (side - 1) / 2
    rows, columns = torch.meshgrid(offset, offset, indexing="ij")
    return columns, rows
