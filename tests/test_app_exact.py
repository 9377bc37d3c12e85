"""What the player looks up: exact frames and slices, of this visitor's job and no other file."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import encode, moving_pattern
from PIL import Image

from workbench import read_video, reconstruct
from workbench.compare.slices import xt_slice
from workbench.course.pictures import xt_picture
from workbench.errors import FileError, ShapeError
from workbench.jobs import exact
from workbench.jobs.choices import Choices
from workbench.jobs.exact import keeps_exact_frames, read_pair, read_slices
from workbench.jobs.folders import JobFolders
from workbench.jobs.reconstruct import reconstruct_job
from workbench.models.registry import load_autoencoder
from workbench.steps import drain
from workbench.ui.exact import server_functions
from workbench.ui.player import player_value


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_pattern(10, 40, 56))


@pytest.fixture(scope="module")
def job(clip: Path, tmp_path_factory: pytest.TempPathFactory):
    """A finished job and the folders it is kept in."""
    folders = JobFolders(tmp_path_factory.mktemp("jobs"))
    folder = folders.new()
    chosen = Choices(str(clip), "dct", None, "cpu", None, None, False, None, None, 0.25)
    result = drain(reconstruct_job(chosen, load_autoencoder("dct"), folder))
    folders.keep("visitor", folder)
    return result, folders, folder


def pixels(address: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1]))))


def test_frames_are_those_that_were_measured_bit_by_bit(job, clip: Path) -> None:
    result = reconstruct(load_autoencoder("dct"), read_video(clip))
    for frame in (0, 4, 9):
        original, output = read_pair(job[2], frame)
        assert torch.equal(original, result.original.frames[frame])
        assert torch.equal(output, result.output.frames[frame])


def test_slices_are_a_row_of_every_frame(job, clip: Path) -> None:
    result = reconstruct(load_autoencoder("dct"), read_video(clip))
    original, output = read_slices(job[2], 17)
    assert torch.equal(original, result.original.frames[:, :, 17].transpose(0, 1))
    assert torch.equal(output, xt_slice(result.output.frames, 17))
    picture = xt_picture({"original": original, "reconstruction": output})
    assert picture.shape[2] == 56
    assert picture.shape[1] >= 2 * 96
    with pytest.raises(ShapeError, match="row 40"):
        xt_slice(result.original.frames, 40)


def test_the_page_gets_lossless_pictures(job) -> None:
    frame_pair, row_slices = server_functions(job[1])
    name, pair = job[2].name, read_pair(job[2], 3)
    sent = frame_pair({"job": name, "frame": 3})
    assert np.array_equal(pixels(sent["original"]), pair[0].permute(1, 2, 0).numpy())
    assert np.array_equal(pixels(sent["output"]), pair[1].permute(1, 2, 0).numpy())
    assert pixels(row_slices({"job": name, "row": 0})["output"]).shape == (10, 56, 3)


@pytest.mark.parametrize(
    "request_", [{}, {"job": "..", "frame": 0}, {"job": None, "frame": 0}, {"frame": "0"}, {"frame": -1}, {"frame": 10}]
)
def test_whatever_else_is_asked_for_gets_an_answer_in_words(job, request_) -> None:
    frame_pair, _ = server_functions(job[1])
    asked = {"job": job[2].name, **request_} if request_ else {}
    assert "run the job again" in frame_pair(asked)["error"]


def test_slices_end_at_the_limit_and_a_file_cut_off_is_refused(job, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exact, "MAX_SLICE_FRAMES", 4)
    assert read_slices(job[2], 17)[0].shape == (3, 4, 56)
    whole = exact.exact_path(job[2]).read_bytes()
    for length in (0, len(whole) // 2):
        exact.exact_path(tmp_path).write_bytes(whole[:length])
        with pytest.raises(FileError, match="cannot be read"):
            read_pair(tmp_path, 0)


def test_long_clips_are_not_kept_exactly(job) -> None:
    assert keeps_exact_frames(96, 720, 1280)
    assert not keeps_exact_frames(10_000, 720, 1280)
    assert not keeps_exact_frames(None, 8, 8)


def test_the_page_gets_a_curve_a_metric_with_gaps_and_the_worst_frame(job) -> None:
    result, _, folder = job
    value = player_value(result.pair, result.report.metrics)
    curves = {curve["label"]: curve for curve in value["curves"]}
    assert value["job"] == folder.name
    assert curves["Flicker"]["values"][0] is None
    worst = min(range(10), key=result.report.metrics["psnr"].__getitem__)
    assert curves["PSNR"]["worst"] == worst
    assert curves["PSNR"]["values"][worst] == pytest.approx(result.report.metrics["psnr"][worst], rel=1e-3)
