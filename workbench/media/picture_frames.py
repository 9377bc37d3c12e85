"""The frames of what Pillow decodes: AVIF and HEIC photos, composed of their tiles, and animated AVIF, WebP and PNG;
GIFs that leave times out."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.convert import colour_warnings, is_turned, upright
from workbench.media.image import exif_orientation
from workbench.media.info import CUT_SHORT, DEFAULT_FPS, MAX_PIXELS, NO_RATE, MediaInfo, check_pixels
from workbench.media.profiles import SrgbConverter
from workbench.media.structure import is_cut_short, picture_colours
from workbench.media.video_frames import Shown

_FORMATS = {"avif": "AVIF", "webp_pipe": "WEBP", "png_pipe": "PNG", "gif": "GIF"}
_CODECS = {"avif": "av1", "heif": "hevc", "webp_pipe": "webp", "png_pipe": "apng", "gif": "gif"}
_GIF_DELAY_MS = 100  # where none is said, as FFmpeg and browsers have it
_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)


class PictureFrames:
    """An open file, from one of its frames on; to its reader the same as `VideoFrames`."""

    def __init__(self, path: Path, kind: str, start_frame: int) -> None:
        """Of an animation all frames are decoded once to learn their times.

        Raises:
            MediaError: it cannot be read, with the reason, or ends before `start_frame`.
        """
        self._path, self._kind, self._start = path, kind, start_frame
        self._image, self._passed_over = _opened(path, kind)
        try:
            self._orientation = 1 if kind == "heif" else exif_orientation(self._image)  # HEIC is turned by its decoder
            self._srgb = SrgbConverter(self._image.info.get("icc_profile"))
            self._fault: str | None = None
            self._is_translucent = False
            self._durations_s = self._load_all()
            self.info = self._describe()
        except BaseException:
            self.close()
            raise
        if start_frame >= len(self._durations_s):
            self.close()
            end = f"is past its end, it has {len(self._durations_s)} frames"
            raise MediaError(f"{quoted(path)}: start frame {start_frame} {end}")

    def __iter__(self) -> Iterator[Shown]:
        """The pixels of a frame can be had until the next is taken."""
        is_timed, time_s = not self.info.is_image and any(self._durations_s), 0.0
        for number, duration_s in enumerate(self._durations_s):
            if number >= self._start:
                self._load(number)
                yield Shown(time_s if is_timed else None, duration_s or None, self._rgb)
            time_s += duration_s

    def close(self) -> None:
        """Release the file."""
        self._image.close()

    @property
    def is_damaged(self) -> bool:
        """Whether frames are missing that could not be decoded."""
        return self._fault is not None

    def faults(self, decoded: int) -> list[str]:
        """What went wrong, one line each."""
        return [self._fault] if self._fault else []

    def _load(self, number: int) -> None:
        self._image.seek(number + self._first)
        self._image.load()

    def _load_all(self) -> list[float]:
        """Seconds that each frame is shown, of those that decode; 0 where the file does not say."""
        self._first = int(getattr(self._image, "default_image", False))  # of an APNG, for those who cannot animate
        durations_s: list[float] = []
        listed = getattr(self._image, "n_frames", 1) - self._first
        try:
            for number in range(listed):
                self._load(number)
                said_ms = self._image.info.get("duration", 0)
                durations_s.append((said_ms or (_GIF_DELAY_MS if self._kind == "gif" else 0)) / 1000)
                self._is_translucent |= _is_translucent(self._image)
        except _ERRORS as error:
            if not durations_s:
                _refuse(self._path, self._kind, error)
            self._fault = f"{len(durations_s)} of {listed} frames could be decoded ({' '.join(str(error).split())})"
        return durations_s

    def _rgb(self) -> Tensor:
        rgb = torch.from_numpy(np.array(self._image.convert("RGB"))).permute(2, 0, 1)
        return upright(self._srgb(rgb), self._orientation)

    def _describe(self) -> MediaInfo:
        width, height = self._image.size[::-1] if is_turned(self._orientation) else self._image.size
        count, total_s = len(self._durations_s), sum(self._durations_s)
        is_image = getattr(self._image, "n_frames", 1) == 1
        rate = count / total_s if total_s > 0 and not is_image else None
        return MediaInfo(
            path=self._path,
            is_image=is_image,
            num_frames=count,
            height=height,
            width=width,
            fps=rate or DEFAULT_FPS,
            duration_s=total_s or None,
            codec=_CODECS[self._kind],
            pixel_format="rgba" if self._image.has_transparency_data else "rgb24",
            warnings=tuple(self._warnings(rate is not None or is_image)),
        )

    def _warnings(self, has_rate: bool) -> Iterator[str]:
        if self._passed_over:
            yield f"other pictures that the file holds are passed over: {self._passed_over}"
        bits, primaries, transfer = picture_colours(self._path, self._kind)
        if bits > 8:
            yield f"{bits}-bit colour is reduced to 8 bits"
        if self._is_translucent:
            yield "transparency (alpha) is dropped"
        yield from colour_warnings(primaries, transfer, self._srgb.warning is not None)
        if self._srgb.warning:
            yield self._srgb.warning
        if is_cut_short(self._path, self._kind):
            yield CUT_SHORT
        if not has_rate:
            yield NO_RATE


def _opened(path: Path, kind: str) -> tuple[Image.Image, int]:
    """The file, and how many further pictures of it are no frames; its size is checked before any pixel is decoded."""
    try:
        if kind == "heif":
            return _opened_heif(path)
        if kind == "avif" and not features.check("avif"):
            raise MediaError(f"{quoted(path)}: this Pillow cannot read AVIF; update it: pip install -U pillow")
        image = Image.open(path, formats=(_FORMATS[kind],))
    except Image.DecompressionBombError:
        raise MediaError(f"{quoted(path)}: the image is over the limit of {MAX_PIXELS:,} pixels") from None
    except _ERRORS as error:
        _refuse(path, kind, error)
    try:
        check_pixels(path, *image.size)
        if image.mode.startswith("I"):
            raise MediaError(f"{quoted(path)}: an animation of 16-bit greys cannot be read; convert it to MP4")
    except MediaError:
        image.close()
        raise
    return image, 0


def _opened_heif(path: Path) -> tuple[Image.Image, int]:
    """The primary picture, composed and turned by libheif."""
    try:
        import pillow_heif  # optional
    except ImportError:
        raise MediaError(f"{quoted(path)}: HEIC photos need one more package: pip install pillow-heif") from None
    heif = pillow_heif.open_heif(path)
    if not len(heif):
        raise MediaError(f"{quoted(path)}: it holds no picture")
    check_pixels(path, *heif.size)
    return heif[heif.primary_index].to_pillow(), len(heif) - 1


def _is_translucent(image: Image.Image) -> bool:
    return image.has_transparency_data and np.asarray(image.convert("RGBA").getchannel("A")).min() < 255


def _refuse(path: Path, kind: str, error: Exception) -> NoReturn:
    reason = "the file is cut short" if is_cut_short(path, kind) else f"it is corrupt ({' '.join(str(error).split())})"
    raise MediaError(f"{quoted(path)}: no frame of it could be decoded, {reason}") from None
