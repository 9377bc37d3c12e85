"""Packs: small lossless crops of clips and photos, as a training run reads them."""

import math

import pytest
import torch
from skimage import data

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.data.motion import coloured, move_over, moving_scene
from workbench.media.files import list_media
from workbench.media.image import write_image
from workbench.media.reader import read_video
from workbench.media.video import Video
from workbench.media.writer import write_video


def pack(*argv: object) -> None:
    main("workbench", COMMANDS, ["pack", *map(str, argv)])


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def sources(tmp_path_factory, photo):
    """A clip of 20 frames in which every pixel is known by its colour, a photo and a file that is neither."""
    folder = tmp_path_factory.mktemp("sources")
    row, column = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    frames = torch.stack([torch.stack([row, column, torch.full_like(row, t)]) for t in range(20)]).to(torch.uint8)
    write_video(Video(frames, 10.0), folder / "grid.mkv", lossless=True)
    write_image(photo, folder / "photo.png")
    (folder / "broken.mp4").write_text("no film")
    return folder


@pytest.fixture(scope="module")
def packed(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "pack"
    pack(sources, "--out", out, "--side", 16, "--frames", 8, "--resolution", 48, "--crops", 3, "--seed", 1)
    return out


def test_every_run_of_frames_and_every_photo_gives_its_crops(packed):
    names = [path.name for path in list_media(packed)]
    assert names == [f"grid_{n:04d}.mkv" for n in range(1, 7)] + [f"photo_{n:04d}.mkv" for n in range(1, 4)]
    assert {read_video(path).frames.shape for path in list_media(packed)} == {(8, 3, 16, 16)}


def test_crops_are_pixels_of_consecutive_frames_bit_by_bit(packed):
    places, mirrored, backwards = set(), set(), set()
    for path in packed.glob("grid_*"):
        video = read_video(path)
        rows, columns, times = video.frames.int().unbind(1)
        assert video.fps == 10.0
        assert (rows.diff(dim=1) == 1).all()
        assert (columns.diff(dim=2) == columns[0, 0, 1] - columns[0, 0, 0]).all()
        assert (times.diff(dim=0) == times[1, 0, 0] - times[0, 0, 0]).all()
        assert times.min() in (0, 8)
        places.add((rows.min().item(), columns.min().item()))
        mirrored.add((columns[0, 0, 1] - columns[0, 0, 0]).item())
        backwards.add((times[1, 0, 0] - times[0, 0, 0]).item())
    assert len(places) > 3
    assert mirrored == backwards == {-1, 1}


def test_the_seed_decides_the_crops(sources, packed, tmp_path):
    settings = ["--side", 16, "--frames", 8, "--resolution", 48, "--crops", 3]
    pack(sources, "--out", tmp_path / "same", *settings, "--seed", 1)
    pack(sources, "--out", tmp_path / "other", *settings, "--seed", 2)
    first, same, other = (
        [read_video(path).frames for path in list_media(folder)]
        for folder in (packed, tmp_path / "same", tmp_path / "other")
    )
    assert all(map(torch.equal, first, same))
    assert not any(map(torch.equal, first, other))


def test_a_photo_moves_at_a_constant_rate_and_stays_sharp(photo):
    clip = move_over(photo, 9, 64, torch.Generator().manual_seed(3))
    assert clip.shape == (9, 3, 64, 64)
    changes = (clip[1:].float() - clip[:-1].float()).abs().mean((1, 2, 3))
    assert changes.min() > 0.5
    assert changes.max() < 3 * changes.min()
    detail, of_photo = (x.float().diff(dim=-1).abs().mean() for x in (clip, photo))
    assert detail > 0.3 * of_photo


def test_a_window_without_motion_is_the_photo_itself(photo):
    """In the middle of the clip turn, zoom and shift are those of the place that was drawn: only the place is left."""
    clip = move_over(photo, 3, 32, torch.Generator().manual_seed(0))
    middle = clip[1].float()
    errors = [
        (photo[:, y : y + 32, x : x + 32].float() - middle).abs().mean().item()
        for y in range(0, 481)
        for x in _columns_near(photo, 32, 0)
    ]
    assert min(errors) < 8


def _columns_near(photo: torch.Tensor, side: int, seed: int) -> range:
    draw = torch.rand(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    left = draw[4] * (photo.shape[2] - side)
    return range(math.floor(left), math.ceil(left) + 1)


def test_scenes_have_layers_that_move_apart_noise_light_and_cuts(photo, monkeypatch):
    """Each by itself, against the same scene without: the numbers that are drawn are the same."""

    def scene(*chances: float) -> torch.Tensor:
        monkeypatch.setattr("workbench.data.motion._CHANCES", chances)
        return moving_scene(photo, 9, 64, torch.Generator().manual_seed(3)).float()

    plain = scene(0, 0, 0, 0, 0, 0)
    layered = (scene(1, 0, 0, 0, 0, 0) != plain).any(1).float()
    assert 0.02 < layered.mean() < 0.6  # an ellipse of it
    assert (layered[0] != layered[-1]).any()  # that moves
    assert scene(0, 1, 0, 0, 0, 0).diff(dim=-1).abs().mean() < plain.diff(dim=-1).abs().mean()
    noise = scene(0, 0, 1, 0, 0, 0) - plain
    assert noise.mean().abs() < 0.5 < noise.std()
    light = (scene(0, 0, 0, 1, 0, 0).mean((1, 2, 3)) / plain.mean((1, 2, 3))).diff()
    assert light.abs().max() > 0.003
    cut = (scene(0, 0, 0, 0, 1, 0) - plain).abs().mean((1, 2, 3)) > 1
    assert cut.any()
    assert cut.tolist() == sorted(cut.tolist())
    still = scene(0, 0, 0, 0, 0, 1)
    assert (still == still[:1]).all()
    assert not (plain == plain[:1]).all()


def test_colours_vary_but_not_from_frame_to_frame(photo):
    still = photo[None, :, :64, :64].expand(4, -1, -1, -1)
    clips = [coloured(still, torch.Generator().manual_seed(seed)) for seed in range(4)]
    assert all((clip == clip[:1]).all() for clip in clips)
    means = torch.stack([clip.float().mean((0, 2, 3)) for clip in clips])
    assert means.std(0).min() > 3


def test_a_varied_pack_differs_from_a_plain_one_in_colours(sources, packed, tmp_path):
    settings = ["--side", 16, "--frames", 8, "--resolution", 48, "--crops", 3, "--seed", 1]
    pack(sources, "--out", tmp_path / "varied", *settings, "--vary", True)
    plain, varied = (read_video(folder / "grid_0001.mkv").frames for folder in (packed, tmp_path / "varied"))
    assert plain.shape == varied.shape
    assert not torch.equal(plain, varied)


def test_a_file_that_holds_no_crop_is_left_out_and_named(sources, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        pack(sources / "grid.mkv", sources / "broken.mp4", "--out", tmp_path, "--resolution", 48, "--side", 64)
    said = capsys.readouterr()
    assert "grid.mkv': 64x48 at resolution 48 holds no crop of 64 pixels" in said.err
    assert "broken.mp4" in said.err
    assert "no crop came of 2 files" in said.err


@pytest.mark.parametrize("flags", [("--frames", 0), ("--resolution", "48pixels"), ("--sid", 16)])
def test_impossible_settings_are_refused(sources, tmp_path, capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        pack(sources, "--out", tmp_path / "out", *flags)
    assert flags[0].strip("-") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(packed, sources, capsys):
    before = list_media(packed)
    with pytest.raises(SystemExit):
        pack(sources, "--out", packed)
    assert "is not empty" in capsys.readouterr().err
    assert list_media(packed) == before
