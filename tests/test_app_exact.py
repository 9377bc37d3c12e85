"""What the player looks up: exact frames and slices, of this visitor's job and no other file."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import encode, moving_pattern
from PIL import Image
from tab_parts import visitor

from workbench import read_video, reconstruct
from workbench.compare.slices import xt_slice
from workbench.course.pictures import xt_picture
from workbench.errors import FileError, ShapeError
from workbench.jobs import exact
from workbench.jobs.choices import UNCUT, Choices
from workbench.jobs.exact import keeps_exact_frames, read_pair, read_slice
from workbench.jobs.folders import JobFolders
from workbench.jobs.queue import Job, JobQueue
from workbench.jobs.reconstruct import reconstruct_job
from workbench.jobs.shelf import Shelf
from workbench.models.ref import ModelRef
from workbench.models.registry import load_autoencoder
from workbench.ui.shelf import ShelfFunctions


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_pattern(10, 40, 56))


@pytest.fixture(scope="module")
def job(clip: Path, tmp_path_factory: pytest.TempPathFactory):
    """A finished job, the shelf it is on, and its folder."""
    shelf = Shelf(tmp_path_factory.mktemp("jobs"), JobQueue())
    chosen, ae = Choices(str(clip), mode=UNCUT), load_autoencoder("dct")
    make = lambda folder: Job("a", folder, lambda at: reconstruct_job(chosen, ModelRef("dct"), ae, at), str, 3)  # noqa: E731
    one = shelf.add(make)
    assert one.ended.wait(60)
    return one, shelf, one.folder


def served(job) -> dict:
    functions = ShelfFunctions(job[1], JobFolders(job[2].parent / "bundles"))
    return {function.__name__: function for function in functions.all}


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
    original, output = (read_slice(job[2], 17, is_original) for is_original in (True, False))
    assert torch.equal(original, result.original.frames[:, :, 17].transpose(0, 1))
    assert torch.equal(output, xt_slice(result.output.frames, 17))
    picture = xt_picture({"original": original, "reconstruction": output})
    assert picture.shape[2] == 56
    assert picture.shape[1] >= 2 * 96
    with pytest.raises(ShapeError, match="row 40"):
        xt_slice(result.original.frames, 40)


def test_the_page_gets_lossless_pictures(job) -> None:
    card, pair = job[0].id, read_pair(job[2], 3)
    for is_original, frame in zip((True, False), pair, strict=True):
        sent = served(job)["frame"]({"card": card, "index": 3, "is_original": is_original})
        assert np.array_equal(pixels(sent["picture"]), frame.permute(1, 2, 0).numpy())
    row = served(job)["slice"]({"card": card, "index": 0, "is_original": False})
    assert pixels(row["picture"]).shape == (10, 56, 3)


@pytest.mark.parametrize(
    "request_",
    [{}, {"card": "..", "index": 0}, {"card": None, "index": 0}, {"index": "0"}, {"index": -1}, {"index": 10}],
)
def test_whatever_else_is_asked_for_gets_an_answer_in_words(job, request_) -> None:
    asked = {"card": job[0].id, **request_} if request_ else {}
    assert "run it again" in served(job)["frame"](asked)["error"]
    assert "error" in served(job)["result"]({"card": "none"})


def test_slices_end_at_the_limit_and_a_file_cut_off_is_refused(job, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exact, "MAX_SLICE_FRAMES", 4)
    assert read_slice(job[2], 17, True).shape == (3, 4, 56)
    whole = exact.exact_path(job[2]).read_bytes()
    for length in (0, len(whole) // 2):
        exact.exact_path(tmp_path).write_bytes(whole[:length])
        with pytest.raises(FileError, match="cannot be read"):
            read_pair(tmp_path, 0)


def test_a_bundle_of_results_whose_frames_are_gone_says_so_without_the_servers_folders(job) -> None:
    path = exact.exact_path(job[2])
    whole = path.read_bytes()
    path.write_bytes(b"")
    said = served(job)["bundle"]({"cards": [job[0].id]}, visitor("a"))["error"]
    path.write_bytes(whole)
    assert said.startswith("dct: its exact frames cannot be read")
    assert job[2].name not in said


def test_long_clips_are_not_kept_exactly(job) -> None:
    assert keeps_exact_frames(96, 720, 1280)
    assert not keeps_exact_frames(10_000, 720, 1280)
    assert not keeps_exact_frames(None, 8, 8)
