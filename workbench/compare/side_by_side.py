"""Original and reconstructions beside each other, as frames for a video or a picture."""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from workbench.errors import ShapeError

_GAP_PIXELS = 4
_BACKGROUND = 24  # grey level of gaps and labels
_INK = 235
_MIN_FONT_PIXELS, _MAX_FONT_PIXELS = 12, 40

DIFFERENCE_GAIN = 4.0
"""How much the difference is amplified in the picture of a worst frame."""


def side_by_side(frames: Mapping[str, Tensor], difference_gain: float | None = None) -> Tensor:
    """Panels from left to right, each under its label; every frame is treated alike, so a clip can come slab by slab.

    Args:
        frames: label to uint8 frames_TCHW, all of one shape; the first is the original.
        difference_gain: also show, to the right of each reconstruction, its absolute difference from the original
            multiplied by this and clipped at 255.

    Returns:
        uint8 frames_TCHW with even sides, at the scale of the input: 1 pixel stays 1 pixel.

    Raises:
        ShapeError: no frames, or not all uint8 of one shape (T, 3, H, W).
    """
    _check(frames)
    panels = dict(frames) if difference_gain is None else _with_differences(frames, difference_gain)
    num_frames, _, height, width = next(iter(panels.values())).shape
    strip_height = _font_pixels(height) + 8
    total_height = strip_height + height
    total_width = len(panels) * (width + _GAP_PIXELS) - _GAP_PIXELS
    canvas = torch.full(
        (num_frames, 3, total_height + total_height % 2, total_width + total_width % 2), _BACKGROUND, dtype=torch.uint8
    )
    for index, (label, panel) in enumerate(panels.items()):
        columns = slice(index * (width + _GAP_PIXELS), index * (width + _GAP_PIXELS) + width)
        canvas[:, :, :strip_height, columns] = _label_strip(label, strip_height, width, _font_pixels(height))
        canvas[:, :, strip_height : strip_height + height, columns] = panel.cpu()
    return canvas


def absolute_difference(original: Tensor, output: Tensor, gain: float) -> Tensor:
    """|original - output| * gain of uint8 tensors of one shape, rounded and clipped to uint8."""
    difference = (original.float() - output.float()).abs()
    return (difference * gain).round().clamp(max=255).to(torch.uint8)


def _check(frames: Mapping[str, Tensor]) -> None:
    shapes = {label: (tuple(panel.shape), panel.dtype) for label, panel in frames.items()}
    first = next(iter(shapes.values()), None)
    valid = first is not None and len(first[0]) == 4 and first[0][1] == 3 and 0 not in first[0]
    if first is None or not valid or first[1] != torch.uint8 or any(shape != first for shape in shapes.values()):
        found = ", ".join(f"{label}: {dtype} {shape}" for label, (shape, dtype) in shapes.items()) or "none"
        raise ShapeError(f"side by side takes uint8 clips (T, 3, H, W) of one shape, got {found}")


def _with_differences(frames: Mapping[str, Tensor], gain: float) -> dict[str, Tensor]:
    (reference_label, reference), *others = frames.items()
    panels = {reference_label: reference}
    for label, panel in others:
        panels[label] = panel
        panels[f"difference x{gain:g}: {label}"] = absolute_difference(reference, panel, gain)
    return panels


def _font_pixels(height: int) -> int:
    """Text size in proportion to the picture, within what stays readable."""
    return min(max(height // 24, _MIN_FONT_PIXELS), _MAX_FONT_PIXELS)


def _label_strip(label: str, height: int, width: int, font_pixels: int) -> Tensor:
    """One line of text as uint8 (3, height, width), cut with an ellipsis where it is too long."""
    font = ImageFont.load_default(font_pixels)
    text = " ".join(label.split())
    shown = next((cut for cut in _shortened(text) if font.getlength(cut) <= width), "")
    image = Image.new("RGB", (width, height), (_BACKGROUND,) * 3)
    ImageDraw.Draw(image).text((width // 2, height // 2), shown, fill=(_INK,) * 3, font=font, anchor="mm")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _shortened(text: str) -> list[str]:
    """The text, then ever shorter beginnings of it, each with an ellipsis."""
    return [text] + [text[:length].rstrip() + "..." for length in range(len(text) - 1, 0, -1)]
