"""Bad files: refused with their own reason, on one line, or read as far as they go with a warning."""

import ctypes
import http.server
import os
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import (
    assert_frames_or_one_line,
    audio_only,
    cut,
    encode,
    enormous_png,
    moving_pattern,
    with_bit_rot,
    with_bytes_replaced,
)
from PIL import Image

from workbench.errors import MediaError
from workbench.media.info import DEFAULT_FPS
from workbench.media.reader import count_frames, probe, read_video
from workbench.media.stream import open_stream
from workbench.media.video import Video


def refusal(path: str | Path) -> str:
    """The message with which every way of opening a file refuses it."""
    messages = set()
    for reader in (probe, read_video, count_frames, open_stream):
        with pytest.raises(MediaError) as caught:
            reader(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message
    return message


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", moving_pattern(60))


def test_each_kind_of_bad_file_has_its_own_reason(tmp_path: Path, clip: Path) -> None:
    empty, text, fifo, noise = (tmp_path / f"{name}.mp4" for name in ("empty", "text", "fifo", "noise"))
    empty.touch()
    text.write_text("Dear diary, today I renamed a letter to a video.\n" * 200)
    os.mkfifo(fifo)
    noise.write_bytes(np.random.default_rng(0).bytes(50_000))
    late_header = encode(tmp_path / "late.mp4", moving_pattern(60), faststart=False)
    bad_header = tmp_path / "bad.mp4"
    bad_header.write_bytes(bytes(64) + clip.read_bytes()[64:])
    bad_index = with_bytes_replaced(clip, b"trak", b"\xff\xff\xff\xff")
    reasons = {
        tmp_path / "missing.mp4": "no such file",
        tmp_path: "not a regular file",
        fifo: "not a regular file",
        empty: "the file is empty (0 bytes)",
        text: "this is text, not a video or an image",
        noise: "the header is corrupt or of no format that can be read",
        bad_header: "the header is corrupt or of no format that can be read",
        audio_only(tmp_path / "sound.mp4"): "it holds sound but no video",
        bad_index: "it holds no video",
        cut(late_header, 0.6): "cut off before the end of its header",
        cut(clip, 0.02): "cut off before the end of its header",
        tmp_path / "nul\0byte.mp4": "no such file",
    }
    for path, reason in reasons.items():
        message = refusal(path)
        assert reason in message
        assert message.startswith(repr(str(path)))


def test_a_file_without_permission_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "cannot be read (Permission denied)" in refusal(clip)


def test_names_stay_on_one_line_of_the_message(tmp_path: Path) -> None:
    for name in ("two\nlines\r\x1b[31m.mp4", "tab\t.mp4"):
        message = refusal(tmp_path / name)
        assert not any(ord(char) < 32 for char in message)
    assert "影片" in refusal(tmp_path / "影片.mp4")


SCRIPTS: dict[str, Callable[[str], str]] = {
    "hls": lambda target: f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": lambda target: f"ffconcat version 1.0\nfile '{target}'\n",
    "bare concat": lambda target: f"file '{target}'\n",
    "sdp": lambda target: f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na={target}\n",
    "dash": lambda target: f'<?xml version="1.0"?>\n<MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>\n',
}


@pytest.mark.parametrize("extension", ["mp4", "m3u8", "mkv"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_playlists_and_scripts_are_refused_and_nothing_that_they_name_is_opened(
    clip: Path, script: str, extension: str
) -> None:
    path = clip.with_name(f"script.{extension}")
    path.write_text(SCRIPTS[script](str(clip)))
    opened = _opened_while(clip, lambda: refusal(path))
    assert not opened
    assert "playlist or script" in refusal(path)


def test_the_watch_on_opened_files_sees_an_opening(clip: Path) -> None:
    assert _opened_while(clip, lambda: probe(clip))


def test_playlists_and_addresses_send_no_request(tmp_path: Path) -> None:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/clip.mp4"
    try:
        playlist = tmp_path / "playlist.mp4"
        for script in SCRIPTS.values():
            playlist.write_text(script(address))
            refusal(playlist)
        for url in (
            address,
            f"cache:{address}",
            f"concat:{address}|{address}",
            "tcp://127.0.0.1:1",
            "file:///etc/passwd",
        ):
            assert "no such file" in refusal(url)
    finally:
        server.shutdown()
        server.server_close()
    assert requests == []


def test_a_pattern_of_names_is_not_expanded(tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"frame{index}.png")
    assert "no such file" in refusal(tmp_path / "frame%d.png")
    assert "no such file" in refusal(tmp_path / "frame*.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "frame%d.png")
    assert read_video(tmp_path / "frame%d.png").frames[0, :, 0, 0].tolist() == [255, 0, 0]


def test_a_matroska_file_of_a_codec_outside_the_list_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", moving_pattern(2), "snow", "yuv420p", options={"strict": "experimental"})
    assert "its video codec (snow) is not supported" in refusal(path)


@pytest.mark.parametrize("sides", [(20_000, 20_000), (9_000, 9_000), (2**31 - 1, 1)])
def test_images_of_enormous_sides_are_refused_before_they_take_memory(tmp_path: Path, sides: tuple[int, int]) -> None:
    path = enormous_png(tmp_path / "bomb.png", *sides)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "over the limit of 67,108,864 pixels" in refusal(path)
    assert "damaged" not in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 * 1024


@pytest.mark.parametrize(
    ("extension", "codec", "pixel_format", "layout"),
    [("mov", "qtrle", "rgb24", ">HH"), ("avi", "ffv1", "bgr0", "<II"), ("gif", "gif", "rgb8", "<HH")],
)
def test_videos_of_enormous_sides_are_refused_before_they_take_memory(
    tmp_path: Path, extension: str, codec: str, pixel_format: str, layout: str
) -> None:
    path = encode(tmp_path / f"clip.{extension}", moving_pattern(2, 48, 66), codec, pixel_format)
    bomb = with_bytes_replaced(path, *_sides_in_header(path, layout))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "over the limit of 67,108,864 pixels" in refusal(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 * 1024


@pytest.mark.parametrize(
    ("extension", "codec", "pixel_format"),
    [("mp4", "libx264", "yuv420p"), ("mkv", "libx264", "yuv420p"), ("webm", "libvpx-vp9", "yuv420p"),
     ("avi", "mpeg4", "yuv420p"), ("gif", "gif", "rgb8"), ("mkv", "ffv1", "bgr0")],
)  # fmt: skip
def test_a_file_cut_at_60_percent_gives_the_frames_that_decode_and_says_how_many(
    tmp_path: Path, extension: str, codec: str, pixel_format: str
) -> None:
    path = encode(tmp_path / f"clip.{extension}", moving_pattern(60), codec, pixel_format)
    whole = read_video(path)
    part = read_video(cut(path, 0.6))
    assert whole.warnings == ()
    assert 4 <= part.num_frames < 60
    assert torch.equal(part.frames[:-3], whole.frames[: part.num_frames - 3])  # the last may be damaged or out of order
    text = " / ".join(part.warnings)
    assert "cut short" in text
    assert f"{part.num_frames} frames could be decoded" in text or f"{part.num_frames} of 60 frames" in text
    assert any("cut short" in warning for warning in probe(cut(path, 0.6)).warnings)


def test_a_cut_file_gives_as_many_frames_with_many_threads_as_with_one(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.media.decode import Decoder

    path = cut(clip, 0.6)
    video_stream = Decoder._video_stream
    counts = {}
    for threads in (1, 3, 16):

        def with_threads(self: Decoder, threads: int = threads) -> object:
            stream = video_stream(self)
            stream.codec_context.thread_count = threads
            return stream

        monkeypatch.setattr(Decoder, "_video_stream", with_threads)
        counts[threads] = count_frames(path)
    assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_an_image_cut_at_60_percent_is_shown_with_a_warning_or_refused_as_cut(tmp_path: Path, extension: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"photo.{extension}")
    path = cut(tmp_path / f"photo.{extension}", 0.6)
    if extension == "png":
        assert "no frame of it could be decoded, the file is cut short" in refusal(path)
    else:
        video = read_video(path)
        assert (video.num_frames, video.height, video.width) == (1, 64, 64)
        assert any("cut short" in warning for warning in video.warnings)


@pytest.mark.parametrize(
    ("extension", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")]
)
def test_bit_rot_is_survived_and_reported(tmp_path: Path, extension: str, codec: str) -> None:
    frames = moving_pattern(60, 96, 128)
    noise = torch.randint(0, 30, frames.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    path = with_bit_rot(encode(tmp_path / f"clip.{extension}", frames // 2 + noise, codec))
    video = read_video(path)
    assert 10 < video.num_frames <= 60
    assert any("damaged" in warning for warning in video.warnings)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("extension", ["mp4", "mkv", "gif", "png"])
def test_no_damage_ends_in_anything_but_frames_or_a_media_error(tmp_path: Path, extension: str, seed: int) -> None:
    path = tmp_path / f"clip.{extension}"
    if extension == "png":
        Image.fromarray(moving_pattern(1)[0].permute(1, 2, 0).numpy()).save(path)
    else:
        encode(path, moving_pattern(20), *(("gif", "rgb8") if extension == "gif" else ()))
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), random.integers(1, 200)):
        data[place] = random.integers(0, 256)
    path.write_bytes(data)
    assert_frames_or_one_line(path)


@pytest.mark.parametrize("rate", [0, 1_000_000])
def test_a_frame_rate_that_is_zero_or_absurd_becomes_the_stated_default(tmp_path: Path, rate: int) -> None:
    path = encode(tmp_path / "clip.avi", moving_pattern(5), "mpeg4", fps=25)
    data = bytearray(path.read_bytes())
    rate_at = data.index(b"vids") + 20  # dwScale and dwRate of the stream header
    assert struct.unpack_from("<II", data, rate_at) == (1, 25)
    struct.pack_into("<II", data, rate_at, 1, rate)
    path.write_bytes(data)
    assert_default_rate(read_video(path), 5)


def test_a_missing_frame_rate_becomes_the_stated_default(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", moving_pattern(1))
    start = path.read_bytes().index(b"\x23\xe3\x83\x84")  # the element DefaultDuration, of 4 bytes
    element = path.read_bytes()[start : start + 8]
    assert_default_rate(read_video(with_bytes_replaced(path, element, b"\xec\x86" + bytes(6))), 1)


def assert_default_rate(video: Video, num_frames: int) -> None:
    assert (video.num_frames, video.fps) == (num_frames, DEFAULT_FPS)
    assert any("no frame rate is stated: 24 fps is assumed" in warning for warning in video.warnings)


def test_timestamps_that_do_not_increase_are_dropped_and_said(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_pattern(5), options={"bf": "0"})
    table = path.read_bytes().index(b"stts")  # then version, entries, frames and the ticks of each
    old = path.read_bytes()[table : table + 20]
    video = read_video(with_bytes_replaced(path, old, old[:16] + bytes(4)))
    assert video.timestamps_s is None
    assert any("timestamps do not increase" in warning for warning in video.warnings)


def test_a_video_with_only_a_header_is_refused(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    headless = tmp_path / "header.mp4"
    headless.write_bytes(data[: data.index(b"mdat") + 4])
    assert "no frame of it could be decoded" in refusal(headless)


def _sides_in_header(path: Path, layout: str) -> tuple[bytes, bytes]:
    """The 66x48 of a header and the same place with enormous sides."""
    old = struct.pack(layout, 66, 48)
    assert old in path.read_bytes()
    return old, struct.pack(layout, 60_000, 60_000)


def _opened_while(path: Path, action: Callable[[], object]) -> bool:
    """Whether anything in this process or outside opened `path` meanwhile (Linux inotify)."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    try:
        in_open = 0x20
        assert libc.inotify_add_watch(watch, os.fsencode(path), in_open) >= 0
        action()
        try:
            return bool(os.read(watch, 4096))
        except BlockingIOError:
            return False
    finally:
        os.close(watch)
