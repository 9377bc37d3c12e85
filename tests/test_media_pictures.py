"""Photos and animations: whole, upright, in sRGB, at their times, and told from films in the same containers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import DISPLAY_P3, SRGB, assert_frames_or_one_line, avif_grid, cut, encode, icc_profile, moving_pattern
from PIL import Image, features

from workbench.errors import MediaError
from workbench.media.policy import ClipPolicy
from workbench.media.reader import count_frames, probe, read_video
from workbench.media.source import open_clip

DURATIONS_MS = [100, 100, 200, 100, 900]
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow is without AVIF")
EXTENSIONS = [pytest.param("avif", marks=needs_avif), "webp", "png"]


def pictures(frames: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]


def animation(path: Path, durations_ms: list[int] | int, **options: object) -> Path:
    first, *others = pictures(moving_pattern(5))
    options = {"lossless": True} if path.suffix == ".webp" else {} if path.suffix == ".png" else {"quality": 95}
    first.save(path, save_all=True, append_images=others, duration=durations_ms, **options)
    return path


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_animation_is_a_clip_with_its_times(tmp_path: Path, extension: str) -> None:
    path = animation(tmp_path / f"clip.{extension}", DURATIONS_MS)
    video, info = read_video(path), probe(path)
    assert (video.num_frames, info.num_frames, info.is_image, count_frames(path)) == (5, 5, False, 5)
    assert video.timestamps_s == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.5], abs=0.0011)
    assert (video.last_duration_s, video.duration_s) == (pytest.approx(0.9), pytest.approx(1.4))
    assert any("rate varies" in warning for warning in video.warnings)
    assert (video.frames.float() - moving_pattern(5).float()).abs().mean() < 3
    part = read_video(path, start_frame=2, frame_interval=2)
    assert torch.equal(part.frames, video.frames[2::2])
    assert part.timestamps_s == video.timestamps_s[2::2]
    assert torch.equal(open_clip(path, ClipPolicy(max_frames=3)).read(), video.frames[:3])
    with pytest.raises(MediaError, match="start frame 5 is past its end, it has 5 frames"):
        read_video(path, start_frame=5)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_even_animation_has_its_rate(tmp_path: Path, extension: str) -> None:
    video = read_video(animation(tmp_path / f"clip.{extension}", 40))
    assert (video.fps, video.warnings) == (pytest.approx(25.0), ())


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_transparency_of_any_frame_is_told_and_opaque_alpha_is_not(tmp_path: Path, extension: str) -> None:
    for name, alphas in (("opaque", (255, 255, 255)), ("translucent", (255, 100, 255))):
        first, *others = (Image.new("RGBA", (16, 16), (40 * n, 80, 120, alpha)) for n, alpha in enumerate(alphas))
        path = tmp_path / f"{name}.{extension}"
        first.save(path, save_all=True, append_images=others, duration=100)
        told = "transparency (alpha) is dropped" in read_video(path).warnings
        assert told == (name == "translucent")


def test_an_animation_that_states_no_times_has_the_stated_default(tmp_path: Path) -> None:
    video = read_video(animation(tmp_path / "clip.webp", 0))
    assert (video.num_frames, video.fps, video.timestamps_s) == (5, 24.0, None)
    assert any("no frame rate is stated: 24 fps is assumed" in warning for warning in video.warnings)


def test_the_picture_of_a_png_for_those_who_cannot_animate_is_no_frame(tmp_path: Path) -> None:
    first, *others = pictures(moving_pattern(5))
    first.save(tmp_path / "clip.png", save_all=True, append_images=others, duration=100, default_image=True)
    video = read_video(tmp_path / "clip.png")
    assert torch.equal(video.frames, moving_pattern(5)[1:])
    assert video.fps == 10.0


def test_an_animation_that_is_cut_gives_what_decodes_and_says_so(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (5, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, *others = pictures(noise)
    first.save(tmp_path / "clip.png", save_all=True, append_images=others, duration=100)
    video = read_video(cut(tmp_path / "clip.png", 0.7))
    assert 2 <= video.num_frames < 5
    assert torch.equal(video.frames, noise[: video.num_frames])
    assert any("cut short" in warning for warning in video.warnings)
    assert any(f"{video.num_frames} of 5 frames could be decoded" in warning for warning in video.warnings)
    with pytest.raises(MediaError, match="no frame of it could be decoded, the file is cut short"):
        read_video(cut(tmp_path / "clip.png", 0.1))


@needs_avif
def test_an_avif_photo_is_a_photo_and_its_tiles_are_composed(tmp_path: Path) -> None:
    tiles = moving_pattern(3, 64, 64)
    path = avif_grid(tmp_path / "grid.avif", tiles)
    video, info = read_video(path), probe(path)
    assert (info.is_image, info.num_frames, info.codec, video.warnings) == (True, 1, "av1", ())
    assert video.frames.shape == (1, 3, 64, 192)
    assert (video.frames[0].float() - torch.cat(list(tiles), 2).float()).abs().mean() < 3
    with pytest.raises(MediaError, match=r"cut short|corrupt"):
        read_video(cut(path, 0.5))


@needs_avif
def test_an_avif_photo_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures(moving_pattern(1))[0].save(tmp_path / "photo.avif", quality=95, exif=exif)
    frame = read_video(tmp_path / "photo.avif").frames[0]
    assert (frame.float() - moving_pattern(1)[0].rot90(-1, (1, 2)).float()).abs().mean() < 3


def test_a_heic_photo_is_read_by_its_plug_in(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    first, second = pictures(moving_pattern(2))
    file = pillow_heif.from_pillow(first)
    file.add_from_pillow(second)
    file.save(tmp_path / "photo.heic", quality=95, exif=exif.tobytes())
    video = read_video(tmp_path / "photo.heic")
    assert probe(tmp_path / "photo.heic").is_image
    assert video.warnings == ("other pictures that the file holds are passed over: 1",)
    assert (video.frames[0].float() - moving_pattern(1)[0].rot90(-1, (1, 2)).float()).abs().mean() < 3


def test_a_heic_photo_without_the_plug_in_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(MediaError, match=r"photo.heic': HEIC photos need one more package: pip install pillow-heif"):
        read_video(path)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("extension", [*EXTENSIONS, pytest.param("grid.avif", marks=needs_avif), "heic"])
def test_no_damage_ends_in_anything_but_frames_or_a_media_error(tmp_path: Path, extension: str, seed: int) -> None:
    path = tmp_path / f"clip.{extension}"
    if extension == "heic":
        pytest.importorskip("pillow_heif").from_pillow(pictures(moving_pattern(1))[0]).save(path)
    elif extension == "grid.avif":
        avif_grid(path, moving_pattern(2, 64, 64))
    else:
        animation(path, DURATIONS_MS)
    data, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    end = len(data) if seed % 2 else min(len(data), 600)
    for place in random.integers(0, end, random.integers(1, 30)):
        data[place] = random.integers(0, 256)
    path.write_bytes(data if seed % 3 else data[: int(len(data) * random.random())])
    assert_frames_or_one_line(path)


def in_srgb(colours: torch.Tensor, colorants: tuple) -> torch.Tensor:
    """uint8 (N, 3) colours of a display with these primaries and the transfer of sRGB, as sRGB; by the definitions."""
    encoded = colours.double() / 255
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz, from_srgb = (torch.tensor(matrix, dtype=torch.float64).T for matrix in (colorants, SRGB))
    linear = (torch.linalg.inv(from_srgb) @ to_xyz @ linear.T).T.clamp(0, 1)
    encoded = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255).round().to(torch.uint8)


COLOURS = torch.tensor(
    [[200, 80, 60], [60, 180, 90], [90, 60, 200], [128, 128, 128], [250, 250, 240]], dtype=torch.uint8
)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", pytest.param("avif", marks=needs_avif)])
def test_colours_of_a_profile_become_srgb_and_are_said_to(tmp_path: Path, extension: str) -> None:
    picture = Image.fromarray(COLOURS.repeat_interleave(16, 0)[None].expand(16, -1, -1).contiguous().numpy())
    options = {"lossless": True} if extension == "webp" else {"quality": 100, "subsampling": "4:4:4"}
    path = tmp_path / f"photo.{extension}"
    picture.save(path, icc_profile=icc_profile("A wide display", DISPLAY_P3), **options)
    video = read_video(path)
    assert video.warnings == ("colours are converted from the profile A wide display to sRGB",)
    found = video.frames[0, :, 8, 8::16].T
    assert (found.int() - in_srgb(COLOURS, DISPLAY_P3).int()).abs().max() <= 3
    assert (COLOURS.int() - in_srgb(COLOURS, DISPLAY_P3).int()).abs().max() > 20  # what it was taken for


def test_a_film_of_png_pictures_with_profiles_leaves_the_process_alive(tmp_path: Path) -> None:
    """PyAV frees the name of their profile a second time where it is asked for side data."""
    code = f"""
import gc, sys
sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parent)]!r}
import av
from media_files import DISPLAY_P3, icc_profile
from PIL import Image
Image.new("RGB", (32, 32), "red").save("photo.png", icc_profile=icc_profile("A wide display", DISPLAY_P3))
with av.open("photo.png") as photo, av.open("film.mov", "w") as film:
    stream = film.add_stream_from_template(photo.streams.video[0])
    for number, packet in enumerate(photo.demux(video=0)):
        if packet.size:
            packet.stream, packet.pts, packet.dts = stream, number, number
            film.mux(packet)
from workbench.media.reader import read_video
for name in ("photo.png", "film.mov") * 20:
    assert read_video(name).num_frames == 1
    gc.collect()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_a_profile_that_is_srgb_by_what_it_does_changes_nothing(tmp_path: Path, space: bytes) -> None:
    picture = pictures(moving_pattern(1))[0].convert("L" if space == b"GRAY" else "RGB")
    picture.save(tmp_path / "photo.png", icc_profile=icc_profile("no name that is known", SRGB, space))
    video = read_video(tmp_path / "photo.png")
    assert video.warnings == ()
    assert np.array_equal(video.frames[0].permute(1, 2, 0).numpy(), np.asarray(picture.convert("RGB")))


def test_a_profile_that_cannot_be_followed_is_named(tmp_path: Path) -> None:
    picture = pictures(moving_pattern(1))[0]
    picture.save(tmp_path / "photo.png", icc_profile=b"not a profile")
    assert any("its colour profile cannot be read and is ignored" in w for w in probe(tmp_path / "photo.png").warnings)


def test_bytes_behind_the_end_of_a_file_do_not_cut_it_short(tmp_path: Path) -> None:
    """Phones put a film behind a photo, others their own data behind a film."""
    film = encode(tmp_path / "clip.mp4", moving_pattern(20)).read_bytes()
    first, *others = pictures(moving_pattern(3))
    for name, options in (("photo.jpg", {}), ("photo.png", {}), ("photo.webp", {})):
        first.save(tmp_path / name, **options)
    first.save(tmp_path / "clip.gif", save_all=True, append_images=others, duration=100)
    encode(tmp_path / "clip.mkv", moving_pattern(20))
    for path in sorted(tmp_path.iterdir()):
        for number, tail in enumerate((film, b"\xff\xda\x01\x02", b"some text", bytes(range(180, 256)) * 40)):
            longer = path.with_name(f"{number}_{path.name}")
            longer.write_bytes(path.read_bytes() + tail)
            if path.suffix != ".mkv":  # whose elements end where their parent does
                assert read_video(longer).warnings == (), longer
                assert torch.equal(read_video(longer).frames, read_video(path).frames)
            assert not any("cut short" in warning for warning in read_video(longer).warnings)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_is_still_known_as_cut(tmp_path: Path, share: float) -> None:
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = pictures(noise)
    first.save(tmp_path / "photo.jpg", quality=95, progressive=share > 0.5)
    first.save(tmp_path / "clip.gif", save_all=True, append_images=[second])
    for name in ("photo.jpg", "clip.gif"):
        path = cut(tmp_path / name, share)
        try:
            said = " ".join(probe(path).warnings)
        except MediaError as error:
            said = str(error)
        assert "cut short" in said, path


def test_smaller_pictures_behind_a_photo_are_no_animation(tmp_path: Path) -> None:
    """The multi-picture format of phones: a preview or a gain map behind a JPEG."""
    first, second = pictures(moving_pattern(2))
    first.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[second.resize((32, 24))], quality=98)
    video = read_video(tmp_path / "photo.jpg")
    assert (video.num_frames, video.warnings, probe(tmp_path / "photo.jpg").is_image) == (1, (), True)
    assert (video.frames[0].float() - moving_pattern(1)[0].float()).abs().mean() < 3
    with pytest.raises(MediaError, match="start frame 1 is past its end, it has 1 frames"):
        read_video(tmp_path / "photo.jpg", start_frame=1)
