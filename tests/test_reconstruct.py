"""A clip in, its reconstruction out: memory and file agree, memory stays constant, nothing half-written remains."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from clips import moving_video, write_clip
from media_files import encode, moving_pattern, two_resolutions
from small_models import small_model

import workbench as wb
from workbench.media.video import to_uint8
from workbench.media.writer import VideoWriter
from workbench.models.cost import encode_share
from workbench.roundtrip.clip import reconstruct_file_steps
from workbench.steps import Progress

SMALL_TILES = wb.Tiling(spatial_tile_size=32, temporal_tile_size=8, tile_overlap_factor=0.25)


@pytest.fixture(scope="module")
def dct():
    return small_model("dct")


@pytest.mark.parametrize("tiling", [wb.Tiling(), wb.ONE_PIECE, SMALL_TILES])
@pytest.mark.parametrize("num_frames", [2, 29])
def test_file_to_file_equals_in_memory(dct, tmp_path, tiling, num_frames):
    source = write_clip(tmp_path / "in.mkv", num_frames, 45, 70)
    report = wb.reconstruct_file(dct, source, tmp_path / "out.mkv", tiling)
    result = wb.reconstruct(dct, wb.read_video(source), tiling)
    assert torch.equal(wb.read_video(tmp_path / "out.mkv").frames, result.output.frames)
    assert report.metrics["psnr"] == result.metrics["psnr"]
    assert report.latent_shape == tuple(result.latents.shape[1:])
    assert (report.num_frames, report.height, report.width) == (num_frames, 45, 70)


@pytest.mark.parametrize("name", ["video_dc_ae", "hunyuan_vae"])
def test_learned_models_stream_to_the_same_frames_as_in_memory(name, tmp_path):
    ae = small_model(name)
    tiling = wb.Tiling(spatial_tile_size=32, temporal_tile_size=ae.frames_of(3))
    source = write_clip(tmp_path / "in.mkv", 22, 33, 40)
    wb.reconstruct_file(ae, source, tmp_path / "out.mkv", tiling)
    expected = wb.reconstruct(ae, wb.read_video(source), tiling).output.frames
    assert expected.max() - expected.min() > 100
    difference = wb.read_video(tmp_path / "out.mkv").frames.int() - expected.int()
    assert difference.abs().max() <= 1  # float rounding may move a value across a half


def test_the_output_is_the_untiled_model_on_the_clip(dct):
    video = moving_video(9, 40, 50)
    result = wb.reconstruct(dct, video)
    x = video.to_tensor()
    y = dct.decode(dct.encode(x), 9, (40, 50))
    assert torch.equal(result.output.frames, to_uint8(y[0].transpose(0, 1)))
    mse = (video.frames.double() - result.output.frames.double()).square().mean((1, 2, 3))
    psnr = 10 * torch.log10(255**2 / mse)
    torch.testing.assert_close(torch.tensor(result.metrics["psnr"], dtype=torch.float64), psnr, rtol=0, atol=1e-3)


def test_a_photo_is_one_frame(dct, tmp_path):
    wb.write_image(moving_video(1, 50, 37).frames[0], tmp_path / "photo.png")
    report = wb.reconstruct_file(dct, tmp_path / "photo.png", tmp_path / "out.png")
    assert report.num_frames == 1
    assert wb.read_video(tmp_path / "out.png").frames.shape == (1, 3, 50, 37)


def test_the_policy_chooses_frames_and_size(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 30, 64, 96)
    policy = wb.ClipPolicy(resolution="32px_ar1:1", fps_max=13, max_frames=10)
    report = wb.reconstruct_file(dct, source, tmp_path / "out.mkv", policy=policy)
    assert (report.num_frames, report.height, report.width, report.fps) == (10, 32, 32, 12.5)
    with pytest.raises(wb.MediaError, match=r"has 30 frames.*`num_frames` asks for 31"):
        wb.reconstruct_file(dct, source, tmp_path / "out.mkv", policy=wb.ClipPolicy(num_frames=31))


def test_uneven_timestamps_are_kept(dct, tmp_path):
    video = moving_video(6, 32, 32)
    times = [0.0, 0.04, 0.2, 0.24, 0.5, 0.54]
    with VideoWriter(tmp_path / "in.mkv", 25.0, lossless=True) as writer:
        writer.write(video.frames, times)
    report = wb.reconstruct_file(dct, tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert any("frame rate varies" in warning for warning in report.warnings)
    assert wb.read_video(tmp_path / "out.mkv").timestamps_s == pytest.approx(times, abs=0.002)


def test_warnings_about_input_and_output_reach_the_report(dct, tmp_path):
    source = two_resolutions(tmp_path / "in.mkv")
    report = wb.reconstruct_file(dct, source, tmp_path / "out.mp4", policy=wb.ClipPolicy(resolution="33"))
    assert any("resolution changes" in warning for warning in report.warnings)
    assert any("even sides" in warning for warning in report.warnings)


def test_a_file_that_shrinks_between_counting_and_reading_is_refused(dct, tmp_path):
    source = encode(tmp_path / "in.avi", moving_pattern(40), "mpeg4")  # AVI is counted by decoding
    steps = reconstruct_file_steps(dct, source, wb.Outputs(tmp_path / "out.mkv"), SMALL_TILES)
    assert next(steps).stage == "count"
    encode(source, moving_pattern(10), "mpeg4")
    with pytest.raises(wb.MediaError, match="40 frames were counted but 10 read"):
        list(steps)
    assert [path.name for path in tmp_path.iterdir()] == ["in.avi"]


def test_outputs_never_replace_the_source_or_each_other(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 2, 32, 32)
    content = source.read_bytes()
    for outputs in (
        wb.Outputs(source),
        wb.Outputs(tmp_path / "a.mp4", tmp_path / "a.mp4"),
        wb.Outputs(tmp_path / "a.png"),
        wb.Outputs(pairs=tmp_path / "a.mkv"),
    ):
        with pytest.raises(wb.MediaError, match=r"name another file|source is a video|written as .npy"):
            wb.reconstruct_file(dct, source, outputs)
    assert source.read_bytes() == content


def test_an_error_in_the_progress_callback_closes_the_job(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 40, 40, 64)

    def stop(progress):
        if progress.stage == "decode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:  # the exception is alive while the folder is looked at
        wb.reconstruct_file(dct, source, tmp_path / "out.mp4", SMALL_TILES, on_progress=stop)
    assert held.value is not None
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_progress_counts_every_tile_of_both_stages(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 20, 40, 64)
    seen: list[Progress] = []
    wb.reconstruct_file(dct, source, tmp_path / "out.mp4", SMALL_TILES, on_progress=seen.append)
    for stage, first in (("encode", 0), ("decode", 1)):  # before the first tile it is said how many there are
        events = [p for p in seen if p.stage == stage]
        assert [p.done for p in events] == list(range(first, events[0].total + 1))


@pytest.mark.parametrize(("long_s", "is_told"), [(0.0, True), (1e9, False)])
def test_the_encoders_share_is_counted_only_where_encoding_takes_long(dct, tmp_path, monkeypatch, long_s, is_told):
    monkeypatch.setattr("workbench.roundtrip.clip._LONG_S", long_s)
    source = write_clip(tmp_path / "in.mp4", 20, 40, 64)
    seen: list[Progress] = []
    wb.reconstruct_file(dct, source, tmp_path / "out.mp4", SMALL_TILES, on_progress=seen.append)
    shares = {p.share for p in seen if p.stage == "decode"}
    assert shares == {encode_share(dct) if is_told else None}


def test_a_cancelled_job_leaves_no_file(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 40, 40, 64)
    out = tmp_path / "out"
    out.mkdir()
    outputs = wb.Outputs(out / "a.mp4", out / "b.mp4", out / "c.mp4", pairs=out / "d.npy")
    steps = reconstruct_file_steps(dct, source, outputs, SMALL_TILES)
    for _ in range(10):
        next(steps)
    assert list(out.iterdir())
    steps.close()
    assert not list(out.iterdir())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import workbench as wb
ae = wb.load_autoencoder("dct")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # 13 of 40 pairs of frames
folder = Path(sys.argv[2])
wb.reconstruct_file(ae, sys.argv[1], wb.Outputs(folder / "a.mp4", pairs=folder / "frames.npy"))
"""


def test_a_disk_that_fills_up_while_frames_are_written_ends_the_job_and_leaves_no_file(tmp_path):
    source = write_clip(tmp_path / "in.mp4", 40, 40, 64)
    out = tmp_path / "out"
    out.mkdir()
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, str(source), str(out)], capture_output=True, text=True)
    assert "frames.npy': cannot be written (File too large)" in ended.stderr.splitlines()[-1]
    assert not list(out.iterdir())


def test_pairs_hold_the_exact_frames_of_both(dct, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 20, 40, 64)
    wb.reconstruct_file(dct, source, wb.Outputs(tmp_path / "out.mkv", pairs=tmp_path / "pairs.npy"))
    original, output = torch.from_numpy(np.load(tmp_path / "pairs.npy")).unbind(1)
    assert torch.equal(original, wb.read_video(source).frames)
    assert torch.equal(output, wb.read_video(tmp_path / "out.mkv").frames)


def test_a_refused_input_leaves_no_file(dct, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(wb.MediaError, match=r"bad\.mp4"):
        wb.reconstruct_file(dct, tmp_path / "bad.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


PEAK = """
import resource, sys
import workbench as wb
ae = wb.load_autoencoder("dct")
tiling = eval(sys.argv[3])
wb.reconstruct_file(ae, sys.argv[1], sys.argv[2], **({"tiling": tiling} if tiling else {}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("tiling", ["None", "wb.Tiling(spatial_tile_size=64, temporal_tile_size=16)"])
def test_a_clip_ten_times_longer_needs_no_more_memory(tmp_path, tiling):
    """By default, and where tiles are asked for."""
    peaks = []
    for num_frames in (64, 640):
        source = write_clip(tmp_path / f"{num_frames}.mp4", num_frames, 96, 128)
        command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / "out.mp4"), tiling]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    one_clip_kb = 640 * 3 * 96 * 128 / 1024
    assert peaks[1] - peaks[0] < min(0.05 * peaks[0], 0.5 * one_clip_kb), peaks
