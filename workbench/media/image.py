"""Still images: what only their header says, and writing one."""

import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from workbench.errors import MediaError, ShapeError
from workbench.files import quoted, write_errors, written_whole
from workbench.media.info import MAX_PIXELS

_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageHeader:
    """Size as stored, the EXIF orientation (1 to 8; 1 is upright), whether it is an animation, the colour profile."""

    width: int
    height: int
    orientation: int
    is_animated: bool
    icc_profile: bytes | None


def read_header(path: Path) -> ImageHeader:
    """Read the header of a PNG, JPEG or WebP file; no pixel is decoded, however large it claims to be.

    Raises:
        MediaError: the header is corrupt.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            # What Pillow calls an animation of JPEGs are the smaller pictures and depth maps behind a photo.
            is_animated = image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False)
            return ImageHeader(*image.size, exif_orientation(image), is_animated, image.info.get("icc_profile"))
    except Image.DecompressionBombError:
        raise MediaError(f"{quoted(path)}: the image is over the limit of {MAX_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise MediaError(f"{quoted(path)}: the image header is corrupt ({error})") from None


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none ahead of the pixels: behind them, Pillow would decode a PNG image to
    look for it."""
    return image.getexif().get(_EXIF_ORIENTATION, 1) if "exif" in image.info else 1


def write_image(frame_CHW: Tensor, path: str | Path) -> None:
    """Write one uint8 (3, H, W) RGB frame as PNG (exact) or JPEG (quality 95), by extension.

    Raises:
        ShapeError: it is not such a frame.
        MediaError: another extension, or the file cannot be written; nothing half-written remains.
    """
    path = Path(path)
    if frame_CHW.dtype != torch.uint8 or frame_CHW.ndim != 3 or frame_CHW.shape[0] != 3:
        raise ShapeError(f"an image must be a uint8 (3, H, W) tensor, got {frame_CHW.dtype} {tuple(frame_CHW.shape)}")
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise MediaError(f"{quoted(path)}: images are written as .png, .jpg or .jpeg")
    image = Image.fromarray(frame_CHW.permute(1, 2, 0).contiguous().cpu().numpy())
    with written_whole(path) as temporary, write_errors(path):
        options = {"quality": 95, "subsampling": 0, "compress_level": 3}  # level 6 is 2.5 times slower, 9 % smaller
        image.save(temporary, format=formats[path.suffix.lower()], **options)
