"""Written files: playable, exact if lossless, and whole or not there."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from media_files import encode, moving_pattern

from workbench.errors import FileError, MediaError, ShapeError
from workbench.media.image import write_image
from workbench.media.reader import probe, read_video
from workbench.media.video import Video
from workbench.media.writer import VideoWriter, write_video


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (17, 31), (64, 48)])
@pytest.mark.parametrize("num_frames", [1, 2, 29])
def test_lossless_video_is_exact_for_any_size(tmp_path: Path, num_frames: int, size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (num_frames, 3, *size), dtype=torch.uint8)
    assert write_video(Video(frames, 24.0), tmp_path / "clip.mkv", lossless=True) == ()
    video = read_video(tmp_path / "clip.mkv")
    assert torch.equal(video.frames, frames)
    assert (video.fps, video.warnings) == (24.0, ())


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
def test_lossy_video_is_h264_for_browsers(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"clip.{extension}"
    frames = moving_pattern(30)
    write_video(Video(frames, 30.0), path)
    info, video = probe(path), read_video(path)
    assert (info.codec, info.pixel_format, video.num_frames, video.fps) == ("h264", "yuv420p", 30, 30.0)
    assert (video.frames.float() - frames.float()).abs().mean() < 4
    if extension != "mkv":
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_repeat_their_last_row_and_column_and_say_so(tmp_path: Path) -> None:
    frames = moving_pattern(3, 33, 47)
    (warning,) = write_video(Video(frames, 24.0), tmp_path / "clip.mp4")
    assert "last row and column of 47x33" in warning
    video = read_video(tmp_path / "clip.mp4")
    assert video.frames.shape == (3, 3, 34, 48)
    assert (video.frames[:, :, :33, :47].float() - frames.float()).abs().mean() < 5
    assert (video.frames[:, :, 33].float() - video.frames[:, :, 32].float()).abs().mean() < 5
    (warning,) = write_video(Video(moving_pattern(1, 1, 1), 24.0), tmp_path / "dot.mp4")
    assert read_video(tmp_path / "dot.mp4").frames.shape == (1, 3, 2, 2)


@pytest.mark.parametrize("fps", [12.5, 23.976, 24000 / 1001, 25, 29.97, 30000 / 1001, 59.94, 120, 1 / 3])
def test_the_frame_rate_is_kept(tmp_path: Path, fps: float) -> None:
    write_video(Video(moving_pattern(12, 16, 16), fps), tmp_path / "clip.mp4")
    video = read_video(tmp_path / "clip.mp4")
    assert video.fps == pytest.approx(fps, rel=1e-5)
    assert video.timestamps_s == pytest.approx([i / fps for i in range(12)], abs=1e-4)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_varying_rate_is_kept(tmp_path: Path, lossless: bool) -> None:
    times = (0.0, 0.04, 0.08, 0.5, 0.54, 2.0, 2.04)
    source = Video(moving_pattern(7), 25.0, timestamps_s=times)
    path = tmp_path / "clip.mkv"
    write_video(source, path, lossless)
    assert read_video(path).timestamps_s == pytest.approx(times, abs=0.0011)


def test_frames_may_come_in_pieces(tmp_path: Path) -> None:
    frames = moving_pattern(11)
    with VideoWriter(tmp_path / "clip.mkv", 24.0, lossless=True) as writer:
        for piece in frames.split(4):
            writer.write(piece)
        assert not (tmp_path / "clip.mkv").exists()
    assert torch.equal(read_video(tmp_path / "clip.mkv").frames, frames)


def interrupted_writing(path: Path) -> None:
    with VideoWriter(path, 24.0) as writer:
        writer.write(moving_pattern(90))
        raise KeyboardInterrupt


def test_an_error_in_the_middle_leaves_nothing_and_keeps_an_older_file(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_pattern(3))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        interrupted_writing(path)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert path.read_bytes() == before
    write_video(Video(moving_pattern(5), 24.0), path)
    assert read_video(path).num_frames == 5
    assert os.listdir(tmp_path) == ["clip.mp4"]


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: writing then fails as on a full disk, with another errno."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize(("name", "lossless"), [("clip.mp4", False), ("clip.mkv", True)])
def test_a_disk_that_fills_up_is_a_clean_error_and_leaves_nothing(
    tmp_path: Path, name: str, lossless: bool, share: float
) -> None:
    video = Video(torch.randint(0, 256, (20, 3, 96, 128), dtype=torch.uint8), 24.0)
    write_video(video, tmp_path / name, lossless)
    size = (tmp_path / name).stat().st_size
    (tmp_path / name).unlink()
    with room_for(int(size * share)), pytest.raises(FileError, match=f"{name}': cannot be written \\(File too large"):
        write_video(video, tmp_path / name, lossless)
    assert os.listdir(tmp_path) == []
    write_video(video, tmp_path / name, lossless)
    assert read_video(tmp_path / name).num_frames == 20


def test_a_full_disk_is_named_by_the_systems_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    for write in (
        lambda path: write_video(Video(moving_pattern(3), 24.0), path.with_suffix(".mp4")),
        lambda path: write_image(moving_pattern(1)[0], path.with_suffix(".png")),
    ):
        with pytest.raises(FileError, match="cannot be written \\(No space left on device"):
            write(tmp_path / "output")
    assert os.listdir(tmp_path) == []


def test_an_image_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with room_for(100), pytest.raises(FileError, match="cannot be written"):
        write_image(torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8), tmp_path / "frame.png")
    assert os.listdir(tmp_path) == []


def test_failed_writes_release_their_files(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            interrupted_writing(tmp_path / "clip.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["clip.avi", "clip", "clip.gif", "clip.webm"])
def test_other_extensions_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"video is written as \.mp4, \.mov, \.mkv"):
        write_video(Video(moving_pattern(1), 24.0), tmp_path / name)
    with pytest.raises(MediaError, match=r"lossless video is written as \.mkv"):
        write_video(Video(moving_pattern(1), 24.0), tmp_path / "clip.mp4", lossless=True)
    with pytest.raises(MediaError, match="images are written as"):
        write_image(moving_pattern(1)[0], tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(MediaError, match="frames per second"):
        VideoWriter(path, 0.0)
    with pytest.raises(MediaError, match="there are no frames"), VideoWriter(path, 24.0):
        pass
    with VideoWriter(tmp_path / "good.mp4", 24.0) as writer:
        writer.write(moving_pattern(2, 16, 16))
        with pytest.raises(ShapeError, match="one size"):
            writer.write(moving_pattern(2, 16, 18))
        with pytest.raises(ShapeError, match="every frame of a video or with none"):
            writer.write(moving_pattern(1, 16, 16), timestamps_s=(0.0,))
    with pytest.raises(ShapeError, match="uint8"), VideoWriter(path, 24.0) as writer:
        writer.write(torch.zeros(2, 3, 16, 16))
    with pytest.raises(MediaError, match="must increase"), VideoWriter(path, 24.0) as writer:
        writer.write(moving_pattern(3), timestamps_s=(0.0, 0.1, 0.1))
    with pytest.raises(FileError, match="cannot be written"):
        write_video(Video(moving_pattern(1), 24.0), tmp_path / "missing" / "clip.mp4")
    with pytest.raises(ShapeError):
        write_image(torch.zeros(3, 4, 4), tmp_path / "frame.png")
    assert os.listdir(tmp_path) == ["good.mp4"]


@pytest.mark.parametrize("name", ["clip%03d.mp4", "a:b.mp4", "pipe:1.mp4", "影片 'x\".mp4", "two\nlines.mp4", "=x.mp4"])
def test_unusual_names_are_written(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Video(moving_pattern(3), 24.0), name)
    write_image(moving_pattern(1)[0], Path(name).with_suffix(".png"))
    assert sorted(os.listdir(tmp_path)) == sorted([name, name.replace(".mp4", ".png")])
    assert read_video(name).num_frames == 3


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_video(Video(moving_pattern(1), 24.0), tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").stat().st_mode == (tmp_path / "usual").stat().st_mode
