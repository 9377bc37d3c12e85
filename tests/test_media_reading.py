"""Reading whole files: the right frames at the right times, whole, from the middle, every n-th, or one at a time."""

import io
import resource
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from av.container import InputContainer
from av.stream import Disposition
from media_files import audio_only, encode, moving_pattern, two_resolutions
from PIL import Image

from workbench.errors import ConfigError, MediaError
from workbench.media.files import MEDIA_EXTENSIONS, identify, list_files, list_media, others_left_out
from workbench.media.image import write_image
from workbench.media.reader import count_frames, probe, read_video
from workbench.media.stream import open_stream

EXAMPLES = Path(__file__).parents[1] / "workbench" / "examples"
FORMATS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("prores_ks", "yuv422p10le"),
    "mkv": ("libx265", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def clip_in(folder: Path, extension: str, num_frames: int = 40, fps: float = 25) -> Path:
    codec, pixel_format = FORMATS[extension]
    return encode(folder / f"clip.{extension}", moving_pattern(num_frames), codec, pixel_format, fps)


@pytest.mark.parametrize("extension", FORMATS)
def test_each_format_gives_all_its_frames_at_their_times(tmp_path: Path, extension: str) -> None:
    path = clip_in(tmp_path, extension)
    video, info = read_video(path), probe(path)
    assert video.frames.shape == (40, 3, 48, 64)
    assert (video.fps, info.fps, count_frames(path), info.estimated_frames) == (25, 25, 40, 40)
    assert video.timestamps_s == pytest.approx([i / 25 for i in range(40)], abs=0.0011)
    assert (info.height, info.width, info.is_image, video.path) == (48, 64, False, path)
    assert (video.frames.float() - moving_pattern(40).float()).abs().mean() < (20 if extension == "gif" else 8)


@pytest.mark.parametrize("extension", FORMATS)
def test_reading_from_the_middle_gives_the_same_frames_as_reading_all(tmp_path: Path, extension: str) -> None:
    path = clip_in(tmp_path, extension)
    whole = read_video(path)
    for start in (1, 11, 12, 13, 23, 24, 25, 39):
        part = read_video(path, start_frame=start, max_frames=3)
        assert torch.equal(part.frames, whole.frames[start : start + 3]), start
        assert part.timestamps_s == whole.timestamps_s[start : start + 3]
        assert part.warnings == whole.warnings


@pytest.mark.parametrize("options", [{}, {"x264-params": "open-gop=1:bframes=3"}, {"bf": "0"}, {"tune": "zerolatency"}])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_seeking_is_exact_for_any_group_of_pictures(tmp_path: Path, extension: str, options: dict[str, str]) -> None:
    path = encode(
        tmp_path / f"clip.{extension}", moving_pattern(50), fps=Fraction(30000, 1001), options=options, gop=10
    )
    whole = read_video(path)
    assert whole.num_frames == 50
    for start in range(1, 50):
        assert torch.equal(read_video(path, start_frame=start, max_frames=1).frames[0], whole.frames[start]), start


UNEVEN_TIMES = {
    "drifting": [i * 1000 + (i % 3) * 400 + (i // 20) * 9000 for i in range(40)],
    "even on average": [i * 1000 + (700 if 28 <= i < 36 else 0) for i in range(40)],
}


@pytest.mark.parametrize("times", UNEVEN_TIMES)
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_seeking_is_exact_where_the_rate_varies(tmp_path: Path, extension: str, times: str) -> None:
    pts = UNEVEN_TIMES[times]
    path = encode(tmp_path / f"clip.{extension}", moving_pattern(40), pts=pts, time_base=Fraction(1, 30000))
    whole = read_video(path)
    assert whole.timestamps_s == pytest.approx([time / 30000 for time in pts], abs=0.0011)
    assert any("rate varies" in warning for warning in whole.warnings)
    for start in range(1, 40):
        part = read_video(path, start_frame=start, max_frames=1)
        assert torch.equal(part.frames[0], whole.frames[start]), start
        assert part.timestamps_s[0] == whole.timestamps_s[start]


def test_a_late_start_does_not_decode_the_frames_before_the_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.media.decode import Decoder

    path = encode(tmp_path / "clip.mp4", moving_pattern(200), gop=10)
    packets = []
    decode = Decoder._decode
    monkeypatch.setattr(Decoder, "_decode", lambda self, packet: packets.append(packet) or decode(self, packet))
    read_video(path, start_frame=151, max_frames=1)
    assert len(packets) < 50


def test_a_container_that_seeks_too_far_costs_time_but_shifts_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overshooting:
        def __init__(self, container: InputContainer) -> None:
            self.container = container

        def __getattr__(self, name: str) -> object:
            return getattr(self.container, name)

        def seek(self, offset: int, **options: object) -> None:
            self.container.seek(offset + 12 * 512, **options)

    path = clip_in(tmp_path, "mp4")
    whole = read_video(path)
    open_ = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: Overshooting(open_(*args, **options)))
    for start in (1, 13, 30):
        assert torch.equal(read_video(path, start_frame=start).frames, whole.frames[start:])


def test_a_start_past_the_end_says_how_many_frames_there_are(tmp_path: Path) -> None:
    for extension in ("mp4", "mkv", "gif"):
        path = clip_in(tmp_path, extension)
        for start in (40, 41, 4000):
            with pytest.raises(MediaError, match=f"start frame {start} is past its end, it has 40 frames"):
                read_video(path, start_frame=start)


def test_an_interval_keeps_every_nth_frame_and_divides_the_rate(tmp_path: Path) -> None:
    path = clip_in(tmp_path, "mp4")
    whole, part = read_video(path), read_video(path, start_frame=5, frame_interval=4, max_frames=7)
    assert torch.equal(part.frames, whole.frames[5:33:4])
    assert part.timestamps_s == whole.timestamps_s[5:33:4]
    assert part.fps == whole.fps / 4
    assert read_video(path, frame_interval=100).num_frames == 1
    assert read_video(path, max_frames=1000).num_frames == 40


@pytest.mark.parametrize("request_", [{"max_frames": 0}, {"start_frame": -1}, {"frame_interval": 0}])
def test_numbers_out_of_range_are_named(tmp_path: Path, request_: dict[str, int]) -> None:
    path = clip_in(tmp_path, "mp4")
    with pytest.raises(ConfigError, match=next(iter(request_))):
        read_video(path, **request_)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 29, 52])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 31), (2, 2)])
def test_any_number_of_frames_of_any_size_is_read(tmp_path: Path, num_frames: int, size: tuple[int, int]) -> None:
    frames = moving_pattern(num_frames, *size)
    path = encode(tmp_path / "clip.mkv", frames, codec="ffv1", pixel_format="bgr0")
    assert torch.equal(read_video(path).frames, frames)
    assert count_frames(path) == num_frames


def test_a_stream_yields_the_same_frames_and_times_as_reading_all(tmp_path: Path) -> None:
    path = clip_in(tmp_path, "mp4")
    whole = read_video(path, frame_interval=3)
    with open_stream(path, frame_interval=3) as stream:
        frames = list(stream)
    assert all(frame.dtype == torch.uint8 and frame.is_contiguous() for frame in frames)
    assert torch.equal(torch.stack(frames), whole.frames)
    assert tuple(stream.timestamps) == whole.timestamps_s
    assert (stream.fps, stream.info.width) == (whole.fps, 64)


def test_streaming_takes_constant_memory(tmp_path: Path) -> None:
    frames = moving_pattern(1, 360, 640).expand(200, -1, -1, -1)
    path = encode(tmp_path / "long.mp4", frames, options={"preset": "ultrafast"})
    with open_stream(path) as stream:
        for _ in range(40):
            next(stream)
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in stream) == 160
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert grown_mib < 40  # the frames together are 105 MiB


def test_a_clip_over_the_memory_budget_is_refused_but_streams_and_parts_are_not(tmp_path: Path) -> None:
    path = clip_in(tmp_path, "mp4")
    budget = 10 * 3 * 48 * 64
    with pytest.raises(MediaError, match=r"40 frames of 64x48 are over the memory limit .* at most 10 frames"):
        read_video(path, max_bytes=budget)
    assert read_video(path, max_frames=10, max_bytes=budget).num_frames == 10
    assert read_video(path, start_frame=30, max_bytes=budget).num_frames == 10
    assert read_video(path, frame_interval=4, max_bytes=budget).num_frames == 10
    with open_stream(path) as stream:
        assert sum(1 for _ in stream) == 40


def test_the_budget_holds_where_the_header_claims_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip_in(tmp_path, "mkv")
    monkeypatch.setattr("workbench.media.reader._expected_frames", lambda *_: 0)
    assert read_video(path).num_frames == 40
    with pytest.raises(MediaError, match="over the memory limit"):
        read_video(path, max_bytes=10 * 3 * 48 * 64)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_a_still_image_is_a_clip_of_one_frame(tmp_path: Path, extension: str) -> None:
    frame = moving_pattern(1, 33, 47)[0]
    path = tmp_path / f"photo.{extension}"
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(path, quality=98)
    video, info = read_video(path), probe(path)
    assert video.frames.shape == (1, 3, 33, 47)
    assert (video.timestamps_s, video.warnings, info.is_image, info.num_frames) == (None, (), True, 1)
    assert count_frames(path) == 1
    tolerance = {"png": 0, "jpg": 4, "webp": 8}[extension]
    assert (video.frames[0].float() - frame.float()).abs().max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_images_without_rgb_pixels_are_converted(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(moving_pattern(1)[0].permute(1, 2, 0).numpy()).convert(mode)
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    picture.save(path, quality=98)
    expected = torch.frombuffer(bytearray(Image.open(path).convert("RGB").tobytes()), dtype=torch.uint8).view(48, 64, 3)
    difference = (read_video(path).frames[0].permute(1, 2, 0).float() - expected.float()).abs()
    assert difference.mean() < 2


def test_a_file_is_known_by_its_content_not_by_its_extension(tmp_path: Path) -> None:
    path = clip_in(tmp_path, "mp4").rename(tmp_path / "clip.txt")
    assert read_video(path).num_frames == 40


def test_the_shipped_examples_are_whole() -> None:
    clips = list_media(EXAMPLES)
    assert len(clips) >= 3
    for clip in clips:
        video = read_video(clip)
        assert video.num_frames == probe(clip).num_frames
        assert video.warnings == ()
        assert clip.name in (EXAMPLES / "LICENCES.md").read_text()


def test_a_folder_lists_its_media_by_name(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.png", "notes.txt", ".hidden.mp4", "ä c.webm"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in list_media(tmp_path)] == ["a.png", "b.MP4", "ä c.webm"]
    assert all(extension == extension.lower() for extension in MEDIA_EXTENSIONS)
    with pytest.raises(MediaError, match="not a folder"):
        list_media(tmp_path / "missing")


def test_every_extension_that_is_looked_for_in_folders_can_be_read(tmp_path: Path) -> None:
    """By content: containers of each kind under their other names, and streams of MPEG."""
    whole = encode(tmp_path / "clip.mp4", moving_pattern(20), fps=25)
    others = {
        "mkv": ("mkv", "webm"),
        "mp4": ("mp4", "m4v", "mov", "qt", "3gp", "3g2", "f4v"),
        "avi": ("avi",),
        "ts": ("ts", "mts"),
        "m2ts": ("m2ts",),
        "mpg": ("mpg", "mpeg", "vob"),
    }
    for container, names in others.items():
        path = tmp_path / f"source.{container}"
        codec = "mpeg2video" if container == "mpg" else "libx264"
        encode(path, moving_pattern(20), codec, fps=25, options={"bf": "0"})
        for name in names:
            copy = tmp_path / f"copy.{name}"
            copy.write_bytes(path.read_bytes())
            video = read_video(copy)
            assert (video.num_frames, video.fps, video.warnings) == (20, 25.0, ()), name
            assert copy in list_media(tmp_path)
    assert read_video(whole).num_frames == 20
    late = tmp_path / "late.ts"  # a recording that begins in the middle of a packet
    late.write_bytes((tmp_path / "source.ts").read_bytes()[-188 * 40 - 100 :])
    assert identify(late) == "mpegts"
    pictures = {"png", "apng", "jpg", "jpeg", "jfif", "webp", "avif", "avifs", "heic", "heif", "hif", "gif"}
    known = {f".{name}" for names in others.values() for name in names} | {f".{name}" for name in pictures}
    assert known == set(MEDIA_EXTENSIONS)


def test_what_else_a_folder_holds_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.txt", "c.xmp", ".hidden.txt"):
        (tmp_path / name).touch()
    assert others_left_out(list_files(tmp_path)) == "2 other files left out: 'b.txt', 'c.xmp'"
    assert others_left_out(list_media(tmp_path)) is None
    for number in range(5):
        (tmp_path / f"d{number}.txt").touch()
    assert others_left_out(list_files(tmp_path)) == "7 other files left out: 'b.txt', 'c.xmp', 'd0.txt', ..."


def several_streams(path: Path, streams: list[tuple[str, tuple[int, int], int]]) -> Path:
    """Streams of `codec`, height and width, and disposition; all their pixels are 40 times their number."""
    with av.open(str(path), "w") as container:
        added = []
        for codec, (height, width), disposition in streams:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = Disposition(disposition)
            added.append(stream)
        for index in range(5):
            for number, stream in enumerate(added):
                grey = torch.full((stream.height, stream.width, 3), 40 * number, dtype=torch.uint8)
                frame = av.VideoFrame.from_ndarray(grey.numpy(), format="rgb24").reformat(format=stream.pix_fmt)
                if index == 0 or not stream.disposition & Disposition.attached_pic:
                    frame.pts, frame.time_base = index, Fraction(1, 25)
                    container.mux(stream.encode(frame))
        for stream in added:
            container.mux(stream.encode())
    return path


SMALL, LARGE = ("libx264", (48, 64), 0), ("libx264", (96, 128), 0)
SMALL_DEFAULT, LARGE_DEFAULT = ("libx264", (48, 64), 1), ("libx264", (96, 128), 1)
COVER = ("mjpeg", (192, 256), 1024)
CHOICES = {
    "the default": ([LARGE, SMALL_DEFAULT], 1, "another video stream is passed over: h264 128x96"),
    "the default, not a preview": ([SMALL, LARGE_DEFAULT], 1, "another video stream is passed over: h264 64x48"),
    "the larger of equals": ([SMALL_DEFAULT, LARGE_DEFAULT], 1, "another video stream is passed over: h264 64x48"),
    "the first of equals": ([LARGE_DEFAULT, LARGE_DEFAULT], 0, "another video stream is passed over: h264 128x96"),
    "no cover": ([COVER, SMALL_DEFAULT], 1, "another video stream is passed over: mjpeg 256x192 (a picture)"),
    "one of three": (
        [COVER, LARGE_DEFAULT, SMALL],
        1,
        "2 other video streams are passed over: h264 64x48, mjpeg 256x192 (a picture)",
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_video_stream_is_chosen_as_ffmpeg_does_and_the_others_are_named(tmp_path: Path, case: str) -> None:
    streams, chosen, warning = CHOICES[case]
    path = several_streams(tmp_path / ("clip.mp4" if COVER in streams else "clip.mkv"), streams)
    video = read_video(path)
    assert video.warnings == (warning,)
    assert (video.num_frames, video.height, video.width) == (5, *streams[chosen][1])
    assert (video.frames.int() - 40 * chosen).abs().max() <= 3
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", str(tmp_path / "first.png")]
        subprocess.run(command, check=True)
        assert Image.open(tmp_path / "first.png").size == (video.width, video.height)


@pytest.mark.parametrize(
    "name", ['it\'s "quoted".mp4', "<b>bold.mp4", "=1+1.mp4", "clip%03d.mp4", "影片 ü.mp4", "a:b.mp4", "two\nlines.mp4"]
)
def test_unusual_names_are_read(tmp_path: Path, name: str) -> None:
    path = clip_in(tmp_path, "mp4").rename(tmp_path / name)
    assert read_video(path, max_frames=1).num_frames == 1


def test_a_stream_that_is_left_early_releases_the_file(tmp_path: Path) -> None:
    path = clip_in(tmp_path, "mp4")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_stream(path) as stream:
            next(stream)
    with pytest.raises(MediaError):
        read_video(audio_only(tmp_path / "sound.mp4"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_frames_of_another_resolution_are_resized_to_the_first(tmp_path: Path) -> None:
    video = read_video(two_resolutions(tmp_path / "clip.mkv"))
    assert video.frames.shape == (8, 3, 48, 64)
    assert any("4 frames are resized to 64x48" in warning for warning in video.warnings)
    assert (video.frames[5].float() - moving_pattern(4)[1].float()).abs().mean() < 8


def test_an_image_may_be_written_and_read_back_exactly(tmp_path: Path) -> None:
    frame = torch.randint(0, 256, (3, 9, 5), dtype=torch.uint8)
    write_image(frame, tmp_path / "frame.png")
    assert torch.equal(read_video(tmp_path / "frame.png").frames[0], frame)
    picture = io.BytesIO((tmp_path / "frame.png").read_bytes())
    assert Image.open(picture).size == (5, 9)
