"""What will be read is what is read, and figures of training data show it."""

import pytest

from workbench.course.data_figures import bucket_figure, sampling_figure
from workbench.data.buckets import Buckets
from workbench.data.clips import read_clip
from workbench.data.loader import ClipLoader
from workbench.data.settings import DataConfig
from workbench.media.files import EXAMPLE_INDEX
from workbench.media.index import Clip, read_index
from workbench.media.video import to_uint8

BUCKETS = {"32px_ar1:1": {4: (0.5, 2), 2: (1.0, 1)}}


@pytest.fixture
def loader():
    loader = ClipLoader(
        DataConfig(data_path=str(EXAMPLE_INDEX), num_workers=0),
        BUCKETS,
        spatial_multiple=32,
        seed=1,
        image_probability=0.3,
    )
    yield loader
    loader.close()


def test_upcoming_batches_are_those_that_follow_and_reading_goes_on_undisturbed(loader):
    next(loader)
    expected = loader.upcoming(3)
    for requests, batch in zip(expected, loader, strict=False):
        assert [request.path for request in requests] == batch.paths
        for request, clip in zip(requests, to_uint8(batch.pixels), strict=True):
            assert read_clip(request).transpose(0, 1).equal(clip)


def test_the_sampling_figure_marks_the_frames_that_are_taken(loader):
    requests = [request for batch in loader.upcoming(4) for request in batch]
    figure = sampling_figure(requests, read_index(EXAMPLE_INDEX).clips)
    rows = figure.data[1:]
    assert sorted(len(row.x) for row in rows) == sorted(request.num_frames for request in requests)
    assert all(set(row.y) <= set(figure.data[0].y) for row in rows)
    assert max(max(row.x) for row in rows) < max(figure.data[0].x)


def test_every_clip_is_in_the_bucket_figure_once():
    clips = [Clip(f"{n}.mp4", n, 40, 40, 24.0) for n in (1, 3, 5, 9, 30, 50)]
    figure = bucket_figure(clips, Buckets(clips, BUCKETS, 32, 24.0), seed=0, epoch=0)
    assert sorted(frames for group in figure.data for frames in group.x) == [1, 3, 5, 9, 30, 50]
    assert list(figure.data[-1].x) == [1]
    assert figure.data[-1].name == "left out of this epoch: 1"
