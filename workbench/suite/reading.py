"""Whether text is still read: an option, by the program Tesseract, which brings what it has learnt along.

Character accuracy of moving text of several sizes, in the spirit of TokBench (arXiv 2505.18142), which also looks at
faces; there is no face network that comes with a package.
"""

import io
import shutil
import subprocess

import torch
from PIL import Image, ImageFont
from torch import Tensor

from workbench.errors import ConfigError
from workbench.suite.clips import FRAMES, SIDE, page_of

SIZES = (12, 20, 32)
"""Heights of the letters in pixels."""

_WORDS = [
    "sphinx",
    "of",
    "black",
    "quartz",
    "judge",
    "my",
    "vow",
    "the",
    "five",
    "boxing",
    "wizards",
    "jump",
    "quickly",
]
_SCALE = 3
"""Tesseract wants letters of about 30 pixels."""


def require_tesseract() -> None:
    """Raise ConfigError unless the program is here."""
    if shutil.which("tesseract") is None:
        raise ConfigError("`ocr`: needs the program Tesseract; apt-get install tesseract-ocr, or leave it out")


def written(size: int) -> Tensor:
    """Lines of words with letters of so many pixels, which move a pixel in every frame: uint8 (T, 3, SIDE, SIDE)."""
    return page_of(_lines(size), size)


def _lines(size: int) -> list[str]:
    """Words, a line as long as fits beside the way that the page moves."""
    font, lines, line = ImageFont.load_default(size), [], ""
    for word in _WORDS:
        longer = f"{line} {word}".strip()
        if font.getlength(longer) > SIDE - FRAMES - 8 and line:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def letters_read(x: Tensor, y: Tensor) -> float:
    """How much of what Tesseract reads of the original's middle frame it reads of the output's: 1 is all.

    1 less the edit distance over the length of the original's reading, at least 0; spaces do not count.
    """
    right, found = (_read(clip[len(clip) // 2]) for clip in (x, y))
    return max(0.0, 1.0 - _distance(right, found) / max(len(right), 1))


def _read(frame_CHW: Tensor) -> str:
    picture = Image.fromarray(frame_CHW.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    picture = picture.resize((_SCALE * picture.width, _SCALE * picture.height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "PNG")
    said = subprocess.run(["tesseract", "-", "-", "--psm", "6"], input=file.getvalue(), capture_output=True, check=True)
    return "".join(said.stdout.decode().split())


def _distance(a: str, b: str) -> int:
    """Levenshtein's: letters to insert, leave out or exchange."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (letter != other))
    return row[-1]
