"""Clips made anew for each epoch: `dataset.vary`."""

import csv

import pytest
import torch

from workbench.data.clips import ClipRequest, read_clip
from workbench.data.loader import ClipLoader
from workbench.data.settings import DataConfig
from workbench.data.variation import varied
from workbench.errors import MediaError
from workbench.media.video import Video
from workbench.media.writer import write_video


@pytest.fixture(scope="module")
def ramp() -> torch.Tensor:
    """12 frames of 48 x 64 whose red says the column, green the row, blue the frame."""
    frames = torch.empty(12, 3, 48, 64, dtype=torch.uint8)
    frames[:, 0] = torch.arange(64)[None, None, :] * 4
    frames[:, 1] = torch.arange(48)[None, :, None] * 5
    frames[:, 2] = torch.arange(12)[:, None, None] * 20
    return frames


def test_windows_vary_in_scale_place_and_direction(ramp, monkeypatch):
    monkeypatch.setattr("workbench.data.variation.coloured", lambda clip, generator: clip)
    clips = [varied(ramp, 12, 24, 24, seed).float() for seed in range(40)]
    assert all(clip.shape == (12, 3, 24, 24) for clip in clips)
    steps = [clip[0, 0, 12].diff().mean() / 4 for clip in clips]  # columns of the source per column
    assert min(abs(step) for step in steps) == pytest.approx(1.0, abs=0.1)
    assert max(abs(step) for step in steps) == pytest.approx(2.0, abs=0.1)
    assert 8 < sum(step < 0 for step in steps) < 32  # mirrored
    assert 8 < sum(clip[0, 2].mean() > clip[-1, 2].mean() for clip in clips) < 32  # backwards
    places = {(int(clip[0, 0].mean()), int(clip[0, 1].mean())) for clip in clips}
    assert len(places) > 30


def test_a_small_clip_is_enlarged_no_more_than_it_must(ramp, monkeypatch):
    monkeypatch.setattr("workbench.data.variation.coloured", lambda clip, generator: clip)
    clip = varied(ramp[:1], 1, 96, 96, 3).float()
    assert clip.shape == (1, 3, 96, 96)
    assert clip[0, 0, 40].diff().abs().mean() == pytest.approx(2.0, abs=0.1)


def test_a_photo_becomes_a_scene_of_any_shape_that_moves(ramp):
    clips = [varied(ramp[:1], 9, 24, 40, seed) for seed in range(8)]
    assert all(clip.shape == (9, 3, 24, 40) and clip.dtype == torch.uint8 for clip in clips)
    assert sum(not torch.equal(clip[0], clip[-1]) for clip in clips) >= 6


def test_photos_fill_buckets_of_clips_only_where_they_vary(tmp_path, ramp):
    write_video(Video(ramp[:1], 24.0), tmp_path / "photo.mkv", lossless=True)
    with open(tmp_path / "data.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["path", "num_frames", "height", "width", "fps"], ["photo.mkv", 1, 48, 64, 0]])
    settings = DataConfig(data_path=str(tmp_path / "data.csv"), num_workers=0, vary=True)
    loader = ClipLoader(settings, {"16px_ar1:1": {8: (1.0, 1)}}, spatial_multiple=16, seed=0)
    (request,) = loader.upcoming(1)[0]
    assert (request.is_photo, request.num_frames, request.frames_read, request.start_frame) == (True, 8, 1, 0)
    assert next(loader).pixels.shape == (1, 3, 8, 16, 16)


def test_a_clip_that_is_too_short_does_not_pass_for_a_photo(tmp_path, ramp):
    write_video(Video(ramp[:5], 24.0), tmp_path / "short.mkv", lossless=True)
    request = ClipRequest(str(tmp_path / "short.mkv"), 0, 8, 1, 16, 16, variation=1)
    with pytest.raises(MediaError, match="only 5 of 8 frames could be read"):
        read_clip(request)


def test_a_photo_in_a_bucket_of_clips_is_read_in_steps_of_images_too(tmp_path, ramp):
    write_video(Video(ramp[:1], 24.0), tmp_path / "photo.mkv", lossless=True)
    (tmp_path / "data.csv").write_text("path,num_frames,height,width,fps\nphoto.mkv,1,48,64,0\n")
    settings = DataConfig(data_path=str(tmp_path / "data.csv"), num_workers=0, vary=True)
    loader = ClipLoader(settings, {"16px_ar1:1": {8: (1.0, 1)}}, spatial_multiple=16, seed=0, image_probability=1.0)
    assert all(request.start_frame == 0 for (request,) in loader.upcoming(8))
    assert next(loader).pixels.shape == (1, 3, 1, 16, 16)
    assert not loader.skipped
