"""The clips of the fault suite: drawn, so that what a model should give is known to the last pixel."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FRAMES, SIDE = 24, 192
"""Frames of a clip, and its height and width: more than one latent of every model in each direction."""

COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (200, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 210),
}
FLASH_AT, STEP_AT = 10, 13
"""The one bright frame, and the first white frame; neither begins a group of 4, 6 or 8."""

_WORDS = "Sphinx of black quartz, judge my vow 0123456789"


def constant(colour: str) -> Tensor:
    """One colour of `COLOURS`: anything that is not flat in the output is the model's own."""
    return torch.tensor(COLOURS[colour], dtype=torch.uint8).view(1, 3, 1, 1).expand(FRAMES, 3, SIDE, SIDE)


def ramp() -> Tensor:
    """Red rises to the right, green downwards and blue to the left: every contrast and colour, nothing sharp."""
    rise = torch.linspace(0, 255, SIDE)
    across, down = rise.expand(SIDE, SIDE), rise[:, None].expand(SIDE, SIDE)
    return _still(torch.stack([across, down, across.flip(1)]))


def zone_plate() -> Tensor:
    """Rings that grow finer outwards, up to a period of 4 pixels at the border: it stands still."""
    offset = torch.arange(SIDE) - (SIDE - 1) / 2
    phase = math.pi / (2 * SIDE) * (offset[:, None] ** 2 + offset**2)
    return _still((127.5 + 100 * torch.cos(phase)).expand(3, SIDE, SIDE))


def moving_edge() -> Tensor:
    """The border between dark and light texture, which goes 4 pixels to the right in every frame."""
    light, dark = (_texture(mean, seed) for mean, seed in ((190, 1), (60, 2)))
    column = torch.arange(SIDE)
    frames = [torch.where(column < 24 + 4 * t, light, dark) for t in range(FRAMES)]
    return torch.stack(frames).round().to(torch.uint8)


def moving_text() -> Tensor:
    """Lines of small letters that move a pixel in every frame."""
    return page_of([_WORDS[number % 7 :] for number in range(10)], 14)


def page_of(lines: Sequence[str], size: int) -> Tensor:
    """Dark lines with letters of so many pixels on a light page, which moves a pixel to the left in every frame."""
    page = Image.new("L", (SIDE + FRAMES, SIDE), 235)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for number, line in enumerate(lines):
        pen.text((FRAMES, 6 + number * round(1.3 * size)), line, fill=20, font=font)
    pixels = torch.from_numpy(np.asarray(page).copy())
    return torch.stack([pixels[:, t : t + SIDE] for t in range(FRAMES)])[:, None].expand(-1, 3, -1, -1)


def flash() -> Tensor:
    """Texture that stands still, and is far brighter in the one frame `FLASH_AT`."""
    frames = _still(_texture(80, 3)).clone()
    frames[FLASH_AT] = _texture(200, 3).round().to(torch.uint8)
    return frames


def step() -> Tensor:
    """Black up to the frame `STEP_AT`, white from there on."""
    frames = torch.zeros(FRAMES, 3, SIDE, SIDE, dtype=torch.uint8)
    frames[STEP_AT:] = 255
    return frames


CLIPS: dict[str, Callable[[], Tensor]] = {
    **{colour: (lambda colour=colour: constant(colour)) for colour in COLOURS},  # type: ignore[misc]
    "ramp": ramp,
    "zone plate": zone_plate,
    "moving edge": moving_edge,
    "moving text": moving_text,
    "flash": flash,
    "black to white": step,
}
"""Every clip by its name: uint8 (FRAMES, 3, SIDE, SIDE)."""


def _texture(mean: float, seed: int) -> Tensor:
    """Smooth noise (3, SIDE, SIDE) about a mean: what a model can keep, and no two places alike."""
    noise = torch.randn(1, 3, SIDE // 6, SIDE // 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    return (mean + 22 * smooth).clamp(0, 255)


def _still(picture: Tensor) -> Tensor:
    return picture.round().to(torch.uint8).expand(FRAMES, -1, -1, -1)
