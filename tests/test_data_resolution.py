"""Resolution names mean what the table of `workbench.media.resolution` says, and the resize is the one planned."""

import pytest
import torch
from clips import moving_frames
from torch.nn import functional as F

from workbench.errors import ConfigError, ShapeError
from workbench.media.resize import apply_resize
from workbench.media.resolution import ASPECT_RATIOS, Resize, cover, parse_resolution, plan_resize


@pytest.mark.parametrize(
    ("name", "source", "multiple", "plan"),
    [
        ("256px_ar1:1", (1080, 1920), 32, Resize(256, 455, 256, 256)),
        ("256px_ar1:1", (64, 64), 32, Resize(256, 256, 256, 256)),
        ("256px_ar16:9", (1080, 1920), 1, Resize(192, 341, 192, 341)),
        ("256px", (1080, 1920), 32, Resize(198, 352, 192, 352)),
        ("256px", (1920, 1080), 32, Resize(352, 198, 352, 192)),
        ("512px", (480, 640), 8, Resize(444, 592, 440, 592)),
        ("720p", (1080, 1920), 8, Resize(720, 1280, 720, 1280)),
        ("720p", (1920, 1080), 8, Resize(1280, 720, 1280, 720)),
        ("720p", (1080, 1920), 32, Resize(720, 1280, 704, 1280)),
        ("256", (1080, 1920), 32, Resize(256, 455, 256, 455)),
        (256, (333, 111), 32, Resize(768, 256, 768, 256)),
    ],
)
def test_a_name_gives_this_resize(name, source, multiple, plan):
    assert plan_resize(name, *source, multiple) == plan


@pytest.mark.parametrize("name", ["256px", "512px", "720p", "100px", *(f"256px_ar{ratio}" for ratio in ASPECT_RATIOS)])
@pytest.mark.parametrize("multiple", [1, 8, 32])
@pytest.mark.parametrize("source", [(1080, 1920), (1920, 1080), (1, 1), (999, 10), (17, 5000)])
def test_the_resize_covers_a_crop_of_legal_sides(name, multiple, source):
    plan = plan_resize(name, *source, multiple)
    assert plan.crop_height % multiple == plan.crop_width % multiple == 0
    assert plan.height >= plan.crop_height
    assert plan.width >= plan.crop_width
    assert plan.height == plan.crop_height or plan.width == plan.crop_width
    assert (plan.crop_height, plan.crop_width) in parse_resolution(name).shapes(multiple)


def test_a_resolution_keeps_about_its_number_of_pixels_in_every_aspect_ratio():
    shapes = parse_resolution("512px").shapes(8)
    assert len(shapes) == len(ASPECT_RATIOS) == 15
    assert all(abs(height * width / 512**2 - 1) < 0.03 for height, width in shapes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("256xp", "did you mean 256px?"),
        ("256px_ar16:10", "did you mean 8:5?"),
        ("256px_ar0:0", "did you mean"),
        ("256px_ar1;1", "did you mean 256px_ar1:1?"),
        ("720p_ar1:1", "is not a name such as"),
        ("p", "is not a name such as"),
        ("0px", "between 1 and"),
        ("99999px", "between 1 and"),
    ],
)
def test_a_bad_name_is_refused_with_a_hint(name, message):
    with pytest.raises(ConfigError, match="resolution") as error:
        parse_resolution(name)
    assert message in str(error.value)


def test_a_resolution_under_the_model_s_multiple_is_refused():
    with pytest.raises(ConfigError, match="16px_ar1:1 is too small for a model whose sides are multiples of 64"):
        plan_resize("16px_ar1:1", 100, 100, 64)


@pytest.mark.parametrize("source", [(90, 161), (20, 30)])
def test_resizing_is_antialiased_bilinear_and_the_crop_is_central(source):
    frames = moving_frames(3, *source)
    plan = cover(*source, 40, 40)
    resized = F.interpolate(frames.double(), (plan.height, plan.width), mode="bilinear", antialias=True)
    top, left = (plan.height - 40) // 2, (plan.width - 40) // 2
    expected = resized[:, :, top : top + 40, left : left + 40]
    output = apply_resize(frames, plan)
    assert output.dtype == torch.uint8
    assert (output.double() - expected).abs().max() <= 1.01


def test_a_fine_checkerboard_shrinks_to_grey():
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    inside = apply_resize(board, Resize(16, 16, 16, 16))[..., 1:-1, 1:-1]
    assert ((inside > 110) & (inside < 145)).all()


def test_a_crop_offset_picks_these_pixels_of_a_clip_that_needs_no_resize():
    frames = moving_frames(2, 20, 30)
    assert torch.equal(apply_resize(frames, Resize(20, 30, 16, 16), (4, 14)), frames[:, :, 4:20, 14:30])


def test_many_frames_give_what_single_frames_give(monkeypatch):
    monkeypatch.setattr("workbench.media.resize._PIXELS_AT_ONCE", 3 * 48 * 48)
    frames, plan = moving_frames(7, 30, 50), cover(30, 50, 48, 48)
    assert torch.equal(apply_resize(frames, plan), torch.cat([apply_resize(frame[None], plan) for frame in frames]))


@pytest.mark.parametrize(
    ("frames", "offset", "message"),
    [
        (torch.zeros(1, 3, 20, 20), None, "uint8"),
        (torch.zeros(3, 20, 20, dtype=torch.uint8), None, "T, C, H, W"),
        (torch.zeros(1, 3, 20, 20, dtype=torch.uint8), (0, 5), "leaves the frame"),
    ],
)
def test_wrong_frames_and_offsets_are_refused(frames, offset, message):
    with pytest.raises(ShapeError, match=message):
        apply_resize(frames, Resize(20, 20, 16, 16), offset)
