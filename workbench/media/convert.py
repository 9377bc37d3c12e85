"""Decoded frames to upright RGB tensors, and the warnings that this conversion deserves."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from torch import Tensor

# Correctly rounded and with chroma interpolated at full resolution; the defaults of swscale favour speed over both.
_SCALING = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
_HDR: dict[int, str] = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
_WIDE: dict[int, str] = {
    ColorPrimaries.BT2020: "BT.2020",
    ColorPrimaries.SMPTE431: "DCI-P3",
    ColorPrimaries.SMPTE432: "Display P3",
}
# Formats with alpha to which GIFs (the first two), CMYK JPEGs and lossless WebP are decoded, though mostly opaque.
_MAYBE_OPAQUE = ("pal8", "bgra", "gbrap", "yuva444p", "argb")
# EXIF orientation -> (transpose, then mirror rows, mirror columns)
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class FrameConverter:
    """Turns frames of one stream into uint8 (3, H, W) RGB tensors, all of the first frame's size, upright.

    The matrix (BT.709, BT.601, BT.2020, ...) and the range are those that the frames are tagged with; untagged ones
    are BT.601 of limited range, as in FFmpeg. Chroma is where its codec or the file puts it, else in the centre of its
    pixels, as in FFmpeg. Later frames of another size are resized to the first.
    """

    def __init__(self, first: VideoFrame, orientation: int) -> None:
        """`orientation` is EXIF's, 1 to 8; 0 for none that can be followed."""
        self._reformatter = VideoReformatter()
        self._stored_size = first.width, first.height
        self._orientation = orientation
        self.width, self.height = self._stored_size[::-1] if is_turned(self._orientation) else self._stored_size

    def resizes(self, frame: VideoFrame) -> bool:
        """Whether a frame has another size than the first."""
        return (frame.width, frame.height) != self._stored_size

    def __call__(self, frame: VideoFrame) -> Tensor:
        width, height = self._stored_size
        planar = self._reformatter.reformat(frame, width, height, "gbrp", interpolation=_SCALING)
        green, blue, red = (_plane(plane) for plane in planar.planes)
        return upright(torch.from_numpy(np.stack((red, green, blue))), self._orientation)


def colour_warnings(primaries: int, transfer: int, has_profile: bool) -> Iterator[str]:
    """What is lost of colours with these code points (ITU-T H.273); a profile tells better what the primaries are."""
    if transfer in _HDR:
        yield f"HDR ({_HDR[transfer]}) is not tone-mapped: colours look flat"
    if primaries in _WIDE and not has_profile:
        yield f"wide-gamut colours ({_WIDE[primaries]}) are taken for BT.709: they look pale"


def upright(rgb_CHW: Tensor, orientation: int) -> Tensor:
    """A picture as stored, turned as its EXIF orientation says; contiguous."""
    transpose, mirror_rows, mirror_columns = _ORIENTATIONS.get(orientation, _ORIENTATIONS[1])
    turned = rgb_CHW.transpose(1, 2) if transpose else rgb_CHW
    mirrored = [axis for axis, mirror in ((1, mirror_rows), (2, mirror_columns)) if mirror]
    return (turned.flip(mirrored) if mirrored else turned).contiguous()


def is_turned(orientation: int) -> bool:
    """Whether an EXIF orientation swaps height and width."""
    return _ORIENTATIONS.get(orientation, _ORIENTATIONS[1])[0]


def frame_warnings(frame: VideoFrame, orientation: int, has_profile: bool) -> list[str]:
    """What the conversion to upright 8-bit RGB loses of frames like this one; a profile tells of a wide gamut."""
    warnings = []
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        warnings.append(f"{bits}-bit colour is reduced to 8 bits")
    if _has_transparency(frame):
        warnings.append("transparency (alpha) is dropped")
    warnings += colour_warnings(frame.color_primaries, frame.color_trc, has_profile)
    if frame.interlaced_frame:
        warnings.append("interlaced video is not deinterlaced")
    if orientation == 0:
        warnings.append("a rotation that is not a multiple of 90 degrees is ignored")
    return warnings


def display_orientation(frame: VideoFrame, codec: str) -> int:
    """The EXIF orientation (1 to 8) that a frame's display matrix amounts to; 0 if it is not a right angle."""
    by_angle = {0: 1, -90: 6, 90: 8, 180: 3, -180: 3}.get(frame.rotation, 0)
    if codec == "png":  # its colour profile has a name, which PyAV and FFmpeg would both free with the side data
        return by_angle
    try:
        kind: Any = SideDataType.DISPLAYMATRIX  # PyAV's types know its name alone
        side_data: Any = frame.side_data.get(kind)
    except ValueError:  # PyAV rejects kinds of side data that it does not know
        return by_angle
    if side_data is None:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5] / 65536  # x' = a x + c y, y' = b x + d y
    transpose = abs(b) + abs(c) > abs(a) + abs(d)
    off_axis, horizontal, vertical = (abs(a) + abs(d), c, b) if transpose else (abs(b) + abs(c), a, d)
    if not math.isclose(off_axis, 0.0, abs_tol=1e-3):
        return 0
    wanted = (bool(transpose), bool(vertical < 0), bool(horizontal < 0))
    return next(orientation for orientation, actions in _ORIENTATIONS.items() if actions == wanted)


def _plane(plane: VideoPlane, bytes_per_pixel: int = 1) -> np.ndarray:
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width * bytes_per_pixel]  # lines are padded


def _has_transparency(frame: VideoFrame) -> bool:
    pixels = frame.format
    if pixels.name not in _MAYBE_OPAQUE:
        return any(component.is_alpha for component in pixels.components)
    rgba = VideoReformatter().reformat(frame, format="rgba")
    return bool((_plane(rgba.planes[0], 4)[:, 3::4] < 255).any())
