"""Frames are counted, timed and found as decoding gives them, whatever a header claims; packets are trusted where they
are proven to tell the same."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media_files import cut, encode, joined, moving_pattern, stream_copy, with_bit_rot
from PIL import Image
from small_models import small_model

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.data.indexing import build_index
from workbench.latents.clips import encode_file_steps
from workbench.media.decode import Decoder
from workbench.media.index import read_index
from workbench.media.policy import ClipPolicy
from workbench.media.reader import count_frames, probe, read_video, scan_frames
from workbench.media.source import ScanError, open_clip, open_clip_steps
from workbench.media.video import Video
from workbench.media.whole import read_clip_steps
from workbench.media.writer import write_video
from workbench.roundtrip.clip import reconstruct, reconstruct_file
from workbench.steps import drain
from workbench.tile_settings import Tiling

B_FRAMES = {"bf": "2"}
CODECS = {
    "h264 closed": ("libx264", "yuv420p", {"bf": "3"}),
    "h264 open": ("libx264", "yuv420p", {"x264-params": "open-gop=1:bframes=3:b-pyramid=2"}),
    "h264 refreshed": ("libx264", "yuv420p", {"x264-params": "intra-refresh=1"}),
    "h264 fields": ("libx264", "yuv420p", {"flags": "+ildct+ilme", "bf": "2"}),
    "hevc open": ("libx265", "yuv420p", {"x265-params": "log-level=none:open-gop=1:bframes=4"}),
    "vp8": ("libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}),
    "vp9": ("libvpx-vp9", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}),
    "av1": ("libsvtav1", "yuv420p", {"preset": "13"}),
    "mpeg4": ("mpeg4", "yuv420p", {"bf": "2"}),
    "mpeg2": ("mpeg2video", "yuv420p", {"bf": "2"}),
    "mjpeg": ("mjpeg", "yuvj420p", {}),
}
ALWAYS_PROVEN = ("h264 closed", "vp9", "av1", "mjpeg")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 frames at 25 fps, a key frame every second, B-frames in between."""
    return encode(tmp_path_factory.mktemp("base") / "base.mp4", moving_pattern(100), fps=25, gop=25, options=B_FRAMES)


def run(command: str, *flags: object) -> None:
    main("workbench", COMMANDS, [command, *map(str, flags), "--device", "cpu"])


def wrong_headers(base: Path, folder: Path) -> dict[str, tuple[Path, int]]:
    """Files whose header or claims are wrong, with the frames that decode."""
    fragments = {"movflags": "frag_keyframe"}
    return {
        "hidden by an edit list": (stream_copy(base, folder / "cut.mp4", start=73), 27),
        "in fragments": (stream_copy(base, folder / "fragments.mp4", options=fragments), 100),
        "from ten hours on": (stream_copy(base, folder / "late.mkv", offset_s=36_000), 100),
        "shown before the cut": (stream_copy(base, folder / "cut.mkv", start=73), count_frames(folder / "cut.mkv")),
    }


def test_an_index_holds_the_frames_that_decode(base: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    files = wrong_headers(base, tmp_path / "clips")
    build_index(tmp_path / "clips", tmp_path / "data.csv", progress=False)
    indexed = {Path(clip.path): clip.num_frames for clip in read_index(tmp_path / "data.csv").clips}
    assert indexed == {path: frames for path, frames in files.values()}
    for path, frames in files.values():
        assert read_video(path).num_frames == scan_frames(path) == frames
        assert probe(path).num_frames in (None, frames)


def test_a_clip_that_starts_late_is_as_long_as_it_is(base: Path, tmp_path: Path) -> None:
    late = stream_copy(base, tmp_path / "late.mkv", offset_s=36_000)
    assert probe(late).duration_s == pytest.approx(4.0, abs=0.05)
    assert read_video(late).num_frames == 100


def test_a_budget_is_held_against_the_packets_not_the_header(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.media.info.MediaInfo.estimated_frames", 10**9)
    assert read_video(base).num_frames == 100


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", CODECS)
def test_packets_are_trusted_only_where_they_equal_decoding(tmp_path: Path, codec: str, extension: str) -> None:
    name, pixel_format, options = CODECS[codec]
    original = tmp_path / ("whole.webm" if codec == "vp8" else f"whole.{extension}" if codec == "av1" else "whole.mp4")
    whole = encode(original, moving_pattern(48), name, pixel_format, 25, options=options, gop=16)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "tests that come later would run in real time"
    copied = original.suffix if codec in ("vp8", "av1") else f".{extension}"
    starts = () if codec == "av1" else (0, 7, 29, 40)  # PyAV cannot copy the packets of AV1
    copies = [stream_copy(whole, tmp_path / f"cut{start}{copied}", start) for start in starts]
    proven = 0
    for path in (whole, *copies, cut(whole, 0.7)):
        scanned = scan_frames(path)
        proven += scanned is not None
        assert scanned in (None, count_frames(path)), path
        scan, decoded = (drain(open_clip_steps(path, ClipPolicy(), may_scan=may)) for may in (True, False))
        assert scan.num_frames == decoded.num_frames
        assert scan.timestamps_s == decoded.timestamps_s
        assert scan.warnings == decoded.warnings
    assert scan_frames(cut(whole, 0.7)) is None
    if codec in ALWAYS_PROVEN:
        assert proven == 1 + len(copies)


@pytest.mark.parametrize("codec", ["h264 closed", "h264 open", "h264 refreshed", "hevc open"])
def test_seeking_in_a_cut_without_encoding_equals_counting_from_its_start(tmp_path: Path, codec: str) -> None:
    name, pixel_format, options = CODECS[codec]
    whole = encode(tmp_path / "whole.mp4", moving_pattern(48), name, pixel_format, 25, options=options, gop=12)
    for start in (7, 13, 26):
        for extension in ("mp4", "mkv"):
            path = stream_copy(whole, tmp_path / f"cut.{extension}", start)
            frames = read_video(path).frames
            for index in (1, 2, 11, len(frames) // 2, len(frames) - 1):
                assert torch.equal(read_video(path, start_frame=index, max_frames=1).frames[0], frames[index]), index


@pytest.mark.parametrize("policy", [ClipPolicy(), ClipPolicy(max_frames=20), ClipPolicy(max_frames=9, fps_max=10)])
def test_a_scanned_clip_is_the_one_that_decoding_gives(base: Path, tmp_path: Path, policy: ClipPolicy) -> None:
    uneven = encode(
        tmp_path / "uneven.mp4",
        moving_pattern(40),
        pts=[i * 900 + i * i for i in range(40)],
        time_base=Fraction(1, 30000),
    )
    for path in (base, uneven, stream_copy(base, tmp_path / "cut.mp4", start=73)):
        scanned, decoded = (drain(open_clip_steps(path, policy, may_scan=may)) for may in (True, False))
        assert (scanned.is_scanned, decoded.is_scanned) == (True, False)
        assert {**vars(scanned), "is_scanned": False} == vars(decoded)
        assert torch.equal(scanned.read(), decoded.read())


def frames_decoded_in(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> int:
    """How many frames decoders give meanwhile."""
    decode, frames = Decoder._decode, []

    def watched(self: Decoder, packet: av.Packet | None) -> object:
        for frame in decode(self, packet):
            frames.append(frame.pts)
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "_decode", watched)
        action()
    return len(frames)


def test_a_reconstruction_decodes_a_clip_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = frames_decoded_in(monkeypatch, lambda: reconstruct_file(small_model("dct"), base, tmp_path / "out.mkv"))
    assert 100 < decoded <= 110  # its first frames are looked at to know what it is
    assert read_video(tmp_path / "out.mkv").num_frames == 100


def test_work_on_a_clip_in_memory_decodes_it_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `evaluate`, the app's tabs, `encode` and `stats` do it."""
    ae, policy = small_model("dct"), ClipPolicy()
    for steps in (read_clip_steps(base, policy), encode_file_steps(ae, base, policy, Tiling())):
        assert 100 < frames_decoded_in(monkeypatch, lambda steps=steps: drain(steps)) <= 110


def test_a_clip_that_is_damaged_in_its_middle_is_counted_by_decoding_after_all(tmp_path: Path) -> None:
    frames = moving_pattern(60, 96, 128)
    noise = torch.randint(0, 30, frames.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    rotten = with_bit_rot(encode(tmp_path / "clip.mp4", frames // 2 + noise))
    clip, read = drain(read_clip_steps(rotten, ClipPolicy()))
    assert clip.num_frames == len(read) == count_frames(rotten)
    assert drain(encode_file_steps(small_model("dct"), rotten, ClipPolicy(), Tiling()))[0].num_frames == len(read)
    with pytest.raises(ScanError):
        drain(open_clip_steps(rotten, ClipPolicy(), may_scan=True)).read()
    report = reconstruct_file(small_model("dct"), rotten, tmp_path / "out.mkv")
    assert report.num_frames == count_frames(rotten) == open_clip(rotten, ClipPolicy()).read().shape[0]
    assert any("damaged" in warning for warning in report.warnings)
    assert read_video(tmp_path / "out.mkv").num_frames == report.num_frames


@pytest.mark.parametrize("num_frames", [30, 31, 33, 34, 50])
def test_b_frames_in_avi_are_given_once_and_at_their_rate(tmp_path: Path, num_frames: int) -> None:
    """FFmpeg writes them on a clock of twice the rate."""
    path = encode(
        tmp_path / "clip.avi", moving_pattern(num_frames), fps=25, gop=25, options=B_FRAMES,
        time_base=Fraction(1, 50), pts=range(0, 2 * num_frames, 2),
    )  # fmt: skip
    video = read_video(path)
    assert (video.num_frames, video.fps, count_frames(path)) == (num_frames, 25, num_frames)
    assert video.duration_s == num_frames / 25
    assert (video.frames.float() - moving_pattern(num_frames).float()).abs().mean() < 8
    assert probe(path).estimated_frames == num_frames


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_two_clips_of_different_size_in_one_stream_are_read_once(tmp_path: Path, extension: str) -> None:
    parts = [
        encode(tmp_path / f"{n}.avi", moving_pattern(n, *size), fps=25, gop=25, options=B_FRAMES)
        for n, size in ((33, (48, 64)), (30, (32, 48)))
    ]
    video = read_video(joined(tmp_path / f"clip.{extension}", parts))
    assert (video.num_frames, video.fps) == (63, 25)
    assert any("30 frames are resized" in warning for warning in video.warnings)


def gif(path: Path, durations_ms: list[int] | None, count: int = 10) -> Path:
    """An animation in the format that its name says; as many frames as there are durations, or `count`."""
    count = count if durations_ms is None else len(durations_ms)
    pictures = [Image.new("RGB", (32, 32), (20 * i, 50, 90)) for i in range(count)]
    timing = {} if durations_ms is None else {"duration": durations_ms}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **timing)
    return path


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
def test_how_long_the_last_frame_is_shown_goes_into_the_written_file(tmp_path: Path, extension: str) -> None:
    source = gif(tmp_path / "still at last.gif", [100] * 9 + [2100])
    video = read_video(source)
    assert (video.duration_s, video.last_duration_s) == (pytest.approx(3.0), pytest.approx(2.1))
    write_video(video, tmp_path / f"again.{extension}")
    again = read_video(tmp_path / f"again.{extension}")
    assert again.duration_s == pytest.approx(3.0, abs=0.002)
    assert again.timestamps_s == pytest.approx(video.timestamps_s, abs=0.0011)
    reconstruct_file(small_model("dct"), source, tmp_path / f"out.{extension}")
    assert read_video(tmp_path / f"out.{extension}").duration_s == pytest.approx(3.0, abs=0.002)


@pytest.mark.parametrize(("extension", "count"), [("gif", 10), ("webp", 10), ("png", 10), ("gif", 1)])
def test_durations_travel_through_models_and_latents(tmp_path: Path, extension: str, count: int) -> None:
    """3 seconds of which the last frame takes two thirds, or all."""
    source = gif(tmp_path / f"clip.{extension}", [100] * 9 + [2100] if count > 1 else [3000])
    ae = small_model("dct")
    result = reconstruct(ae, read_video(source))
    write_video(result.output, tmp_path / "memory.mp4")
    reconstruct_file(ae, source, tmp_path / "file.mp4")
    run("encode", "--dataset.data_path", source, "--save_dir", tmp_path / "latents", "--model", "dct")
    run("decode", tmp_path / "latents", "--save_dir", tmp_path / "decoded")
    for path in (tmp_path / "memory.mp4", tmp_path / "file.mp4", tmp_path / "decoded" / "clip.mp4"):
        again = read_video(path)
        assert (again.num_frames, again.duration_s) == (count, pytest.approx(3.0, abs=0.002)), path


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
@pytest.mark.parametrize(("delay_ms", "fps"), [(None, 10.0), (40, 25.0), (30, 100 / 3)])
def test_a_gif_has_the_rate_of_its_timestamps(tmp_path: Path, count: int, delay_ms: int | None, fps: float) -> None:
    video = read_video(gif(tmp_path / "clip.gif", delay_ms and [delay_ms] * count, count))
    assert (video.num_frames, video.fps, video.warnings) == (count, pytest.approx(fps), ())
    assert video.duration_s == pytest.approx(count / fps)


@pytest.mark.parametrize(("extension", "codec", "error"), [("mkv", "libx264", 0.001), ("webm", "libvpx-vp9", 0.03)])
def test_frames_faster_than_the_clock_of_their_file_keep_their_rate(
    tmp_path: Path, extension: str, codec: str, error: float
) -> None:
    """Matroska counts milliseconds: of 2000 frames a second two have one time. VP9 has no rate of its own."""
    path = encode(tmp_path / f"fast.{extension}", moving_pattern(100), codec, fps=2000)
    video = read_video(path)
    assert (video.num_frames, video.warnings) == (100, ())
    assert video.fps == pytest.approx(2000, rel=error)
    write_video(video, tmp_path / "again.mp4")
    assert read_video(tmp_path / "again.mp4").duration_s == pytest.approx(0.05, rel=error)


@pytest.mark.parametrize(("fps", "extension"), [(2000, "mp4"), (2000, "mov"), (480, "mkv"), (1500, "mp4")])
def test_high_speed_video_has_its_rate(tmp_path: Path, fps: int, extension: str) -> None:
    video = read_video(encode(tmp_path / f"fast.{extension}", moving_pattern(50), fps=fps))
    assert video.fps == pytest.approx(fps, rel=0.01)
    assert video.duration_s == pytest.approx(50 / fps, rel=0.05)
    write_video(video, tmp_path / "again.mp4")
    assert read_video(tmp_path / "again.mp4").fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize("side", [16, 64, 96])
def test_a_gif_whose_pictures_have_no_times_gives_all_of_them(tmp_path: Path, side: int) -> None:
    noise = torch.randint(0, 256, (12, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, *others = [Image.fromarray(frame.numpy()) for frame in noise]
    first.save(tmp_path / "clip.gif", save_all=True, append_images=others)
    video = read_video(tmp_path / "clip.gif")
    assert (video.num_frames, video.fps) == (12, 10)
    with Image.open(tmp_path / "clip.gif") as image:
        for number, frame in enumerate(video.frames):
            image.seek(number)
            assert (frame.permute(1, 2, 0).numpy() == np.asarray(image.convert("RGB"))).all()


def test_a_long_last_frame_is_written_whatever_the_pictures_are(tmp_path: Path) -> None:
    """An encoder that codes it out of order would lose its time."""
    noise = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = torch.stack([noise[0], noise[1] // 2 + noise[0] // 2, noise[1], noise[2], noise[2], noise[3]])
    times = [0.1 * number for number in range(6)]
    for number, clip in enumerate((frames, frames.flip(0), noise)):
        path = tmp_path / f"{number}.mp4"
        write_video(Video(clip, 6.0, times, last_duration_s=0.5), path)
        written = read_video(path)
        assert written.duration_s == pytest.approx(1.0, abs=1e-3)
