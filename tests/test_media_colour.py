"""Colours come out as they went in: matrices, ranges, depth, transparency, rotation. References are computed here."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media_files import (
    BT470BG,
    BT709,
    BT2020,
    FULL_RANGE,
    HLG,
    LIMITED_RANGE,
    PQ,
    SMPTE170M,
    SMPTE240M,
    UNTAGGED,
    encode,
    encode_planes,
    moving_pattern,
)
from PIL import Image

from workbench.media.reader import probe, read_video
from workbench.media.video import Video
from workbench.media.writer import write_video

COLOURS = torch.tensor(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40], [30, 90, 180], [128, 128, 128]]
)
# Luma weights of red and blue: ITU-R BT.709, BT.601, BT.2020 and SMPTE 240M.
WEIGHTS = {
    BT709: (0.2126, 0.0722),
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    UNTAGGED: (0.299, 0.114),
    SMPTE240M: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
}


def luma_and_chroma(rgb: torch.Tensor, matrix: int, colour_range: int) -> list[int]:
    """8-bit Y, Cb, Cr of an 8-bit colour, by the definition of the standards."""
    weight_r, weight_b = WEIGHTS[matrix]
    red, green, blue = (rgb / 255).tolist()
    y = weight_r * red + (1 - weight_r - weight_b) * green + weight_b * blue
    cb, cr = (blue - y) / (2 - 2 * weight_b), (red - y) / (2 - 2 * weight_r)
    if colour_range == FULL_RANGE:
        return [min(255, round(value)) for value in (255 * y, 255 * cb + 128, 255 * cr + 128)]
    return [round(16 + 219 * y), round(128 + 224 * cb), round(128 + 224 * cr)]


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p"])
@pytest.mark.parametrize("colour_range", [LIMITED_RANGE, FULL_RANGE])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_every_matrix_and_range_gives_the_colours_that_went_in(
    tmp_path: Path, matrix: int, colour_range: int, pixel_format: str
) -> None:
    planes = [luma_and_chroma(colour, matrix, colour_range) for colour in COLOURS]
    path = encode_planes(tmp_path / "clip.mp4", planes, matrix, colour_range, pixel_format)
    frames = read_video(path).frames.int()
    assert (frames - COLOURS.view(-1, 3, 1, 1)).abs().max() <= 2


def test_written_colours_are_tagged_bt709_and_read_back_right(tmp_path: Path) -> None:
    frames = COLOURS.to(torch.uint8).view(-1, 3, 1, 1).expand(-1, -1, 32, 64)
    write_video(Video(frames, 25.0), tmp_path / "clip.mp4")
    assert (read_video(tmp_path / "clip.mp4").frames.int() - frames.int()).abs().max() <= 3
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
        luma = [int(np.frombuffer(frame.planes[0], np.uint8)[0]) for frame in container.decode(video=0)]
    assert tags == (BT709, LIMITED_RANGE, 1, 1)
    assert luma == pytest.approx([luma_and_chroma(colour, BT709, LIMITED_RANGE)[0] for colour in COLOURS], abs=1)


def colour_chart(height: int = 144, width: int = 192) -> torch.Tensor:
    """uint8 (3, H, W): hues that swing every 16 to 40 pixels, and stripes 8 wide."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    red = 128 + 80 * torch.sin(2 * torch.pi * (x**2 / (width * 40) + y / 40))
    blue = 128 + 80 * torch.cos(2 * torch.pi * (y**2 / (height * 40) + x / 40))
    chart = torch.stack((red, 128 - (red - 128) / 2 - (blue - 128) / 10, blue))
    stripes = torch.tensor([[220, 30, 40], [30, 90, 220]]).double()[(x[:40, :64] // 8 % 2).long()].permute(2, 0, 1)
    chart[:, :40, :64] = stripes
    return chart.round().clamp(0, 255).to(torch.uint8)


def test_colours_stay_in_their_place_over_four_generations(tmp_path: Path) -> None:
    chart = colour_chart().expand(3, -1, -1, -1)
    video = Video(chart, 25.0)
    for _ in range(4):
        write_video(video, tmp_path / "clip.mp4")
        video = read_video(tmp_path / "clip.mp4")
    error = (video.frames.double() - chart.double()).square().mean()
    assert 10 * torch.log10(255**2 / error) > 27  # 28.6 dB; chroma half a pixel off its place gives 20.4


def test_chroma_is_interpolated_not_repeated(tmp_path: Path) -> None:
    ramp = torch.arange(64).view(1, 1, 1, 64).expand(1, 1, 32, 64)
    frames = torch.cat((ramp * 4, 128 + ramp * 0, 255 - ramp * 4), 1).to(torch.uint8)
    path = encode(tmp_path / "clip.mp4", frames, options={"qp": "0"})
    red = read_video(path).frames[0, 0, 16, 4:60].int()
    assert (red.diff() > 0).all()


@pytest.mark.parametrize(
    ("codec", "pixel_format", "warning"),
    [
        ("ffv1", "yuv420p10le", "10-bit"),
        ("ffv1", "yuv422p12le", "12-bit"),
        ("ffv1", "yuva420p", "alpha"),
        ("ffv1", "bgra", "alpha"),
    ],
)
def test_depth_and_transparency_that_are_lost_are_warned_about(
    tmp_path: Path, codec: str, pixel_format: str, warning: str
) -> None:

    frames = moving_pattern(3)
    path = tmp_path / "clip.mkv"
    if pixel_format == "bgra":
        _encode_translucent(path, frames)
    else:
        encode(path, frames, codec, pixel_format)
    video = read_video(path)
    assert any(warning in line for line in video.warnings)
    assert (video.frames.float() - frames.float()).abs().mean() < 3
    assert probe(path).warnings == video.warnings


def test_opaque_video_of_8_bits_has_no_warning(tmp_path: Path) -> None:
    assert probe(encode(tmp_path / "clip.gif", moving_pattern(3), "gif", "rgb8")).warnings == ()
    assert probe(encode(tmp_path / "clip.mp4", moving_pattern(3))).warnings == ()


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_is_warned_about(tmp_path: Path, transfer: int, name: str) -> None:
    def tag(stream: av.VideoStream) -> None:
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = BT2020, 9, transfer

    path = encode(tmp_path / "clip.mp4", moving_pattern(3), configure=tag)
    assert any(f"HDR ({name}) is not tone-mapped" in line for line in read_video(path).warnings)


@pytest.mark.parametrize(("primaries", "name"), [(9, "BT.2020"), (12, "Display P3")])
def test_a_wide_gamut_is_warned_about(tmp_path: Path, primaries: int, name: str) -> None:
    def tag(stream: av.VideoStream) -> None:
        stream.codec_context.color_primaries = primaries

    path = encode(tmp_path / "clip.mp4", moving_pattern(3), configure=tag)
    assert any(f"wide-gamut colours ({name})" in line for line in read_video(path).warnings)


@pytest.mark.parametrize(("x264", "offset"), [(0, (0.0, 0.5)), (1, (0.5, 0.5)), (2, (0.0, 0.0))])
def test_chroma_is_read_from_where_the_file_says_that_it_is(
    tmp_path: Path, x264: int, offset: tuple[float, float]
) -> None:
    """Chroma rises by two a pixel; its samples (of every second pixel) lie `offset` to the right and down."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "x264-params": f"chromaloc={x264}"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = BT709, LIMITED_RANGE
        frame = av.VideoFrame(128, 96, "yuv420p")
        red = 80 + 2 * (2 * np.arange(64)[None] + offset[0] - 40) + np.zeros((48, 1))
        blue = 80 + 2 * (2 * np.arange(48)[:, None] + offset[1] - 24) + np.zeros((1, 64))
        for plane, values in zip(frame.planes, (np.full((96, 128), 126), blue, red), strict=True):
            lines = np.zeros((plane.height, plane.line_size), np.uint8)
            lines[:, : plane.width] = values.clip(16, 240)
            plane.update(lines.tobytes())
        frame.colorspace, frame.color_range = BT709, LIMITED_RANGE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    red, _, blue = read_video(path).frames[0].double()
    luma, across, down = 255 / 219 * 110, torch.arange(128) - 40, torch.arange(96) - 24
    found_red = (red - luma) / (255 / 224 * 1.5748) + 48  # in units of 8-bit chroma above 80
    found_blue = (blue - luma) / (255 / 224 * 1.8556) + 48
    assert (found_red[48, 42:80] / 2 - across[42:80]).abs().max() < 0.25
    assert (found_blue[26:64, 64] / 2 - down[26:64]).abs().max() < 0.25


def test_translucent_and_deep_images_are_warned_about(tmp_path: Path) -> None:
    rgba = np.full((8, 8, 4), 100, np.uint8)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert any("alpha" in line for line in read_video(tmp_path / "alpha.png").warnings)
    deep = read_video(tmp_path / "deep.png")
    assert any("16-bit" in line for line in deep.warnings)
    assert (deep.frames.int() - 40_000 // 257).abs().max() <= 1


def test_a_cmyk_jpeg_has_its_colours_and_no_alpha(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L").resize((32, 32))
    image = Image.merge("CMYK", [ramp, ramp.rotate(90), ramp.rotate(180), Image.new("L", (32, 32), 40)])
    image.save(tmp_path / "print.jpg", quality=95)
    video = read_video(tmp_path / "print.jpg")
    assert video.warnings == ()
    expected = np.asarray(Image.open(tmp_path / "print.jpg").convert("RGB")).astype(int)
    assert np.abs(video.frames[0].permute(1, 2, 0).numpy() - expected).max() <= 2


# Display matrices [a b; c d], x' = a x + c y, y' = b x + d y, and what they make of a frame (rows, columns).
UPRIGHT = {
    "as stored": ((1, 0, 0, 1), lambda f: f),
    "quarter turn right": ((0, 1, -1, 0), lambda f: f.rot90(-1, (-2, -1))),
    "half turn": ((-1, 0, 0, -1), lambda f: f.rot90(2, (-2, -1))),
    "quarter turn left": ((0, -1, 1, 0), lambda f: f.rot90(1, (-2, -1))),
    "mirrored": ((-1, 0, 0, 1), lambda f: f.flip(-1)),
    "upside down": ((1, 0, 0, -1), lambda f: f.flip(-2)),
    "transposed": ((0, 1, 1, 0), lambda f: f.transpose(-2, -1)),
    "transversed": ((0, -1, -1, 0), lambda f: f.rot90(2, (-2, -1)).transpose(-2, -1)),
}


@pytest.mark.parametrize("case", UPRIGHT)
def test_rotation_stored_in_the_file_is_applied_once(tmp_path: Path, case: str) -> None:
    (a, b, c, d), expected = UPRIGHT[case]
    one = 65536
    matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    path = encode(
        tmp_path / "clip.mp4", moving_pattern(4, 32, 48), configure=lambda stream: stream.set_display_matrix(matrix)
    )
    video, info = read_video(path), probe(path)
    upright = expected(moving_pattern(4, 32, 48))
    assert (video.height, video.width) == (info.height, info.width) == tuple(upright.shape[2:])
    assert (video.frames.float() - upright.float()).abs().mean() < 5
    write_video(video, tmp_path / "again.mp4")
    assert (read_video(tmp_path / "again.mp4").frames.float() - upright.float()).abs().mean() < 6


def test_a_rotation_by_another_angle_is_ignored_and_said(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_pattern(2), configure=lambda stream: stream.set_display_rotation(30.0))
    assert any("multiple of 90" in line for line in read_video(path).warnings)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright_by_their_exif_orientation(tmp_path: Path, extension: str, orientation: int) -> None:
    picture = Image.fromarray(moving_pattern(1, 32, 48)[0].permute(1, 2, 0).numpy())
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"photo.{extension}", exif=exif, quality=95)
    actions = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = picture.transpose(actions[orientation]) if orientation > 1 else picture
    frame = read_video(tmp_path / f"photo.{extension}").frames[0]
    assert (frame.permute(1, 2, 0).float() - torch.tensor(np.array(upright)).float()).abs().mean() < 4


def _encode_translucent(path: Path, frames: torch.Tensor) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], "bgra"
        for frame in frames:
            bgra = torch.cat((frame.flip(0), torch.full_like(frame[:1], 128))).permute(1, 2, 0).contiguous()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(bgra.numpy(), format="bgra")))
        container.mux(stream.encode())
