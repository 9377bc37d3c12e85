"""A clip in memory: its conversions, checks and arithmetic."""

import pytest
import torch

from workbench.errors import ConfigError, ShapeError
from workbench.media.info import frame_interval
from workbench.media.video import Video, to_float, to_uint8

EVERY_VALUE = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_8_bit_value_survives_the_round_trip(dtype: torch.dtype) -> None:
    as_float = to_float(EVERY_VALUE).to(dtype)
    assert as_float.dtype == dtype
    assert (as_float[0], as_float[-1]) == (-1.0, 1.0)
    assert torch.equal(to_uint8(as_float), EVERY_VALUE)


def test_values_outside_the_range_are_clamped_and_others_rounded_to_the_nearest() -> None:
    x = torch.tensor([-7.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 1.0, 7.0, float("inf")])
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_converting_does_not_change_the_source() -> None:
    x = torch.tensor([0.25, -3.0])
    to_uint8(x)
    assert x.tolist() == [0.25, -3.0]


def test_a_video_becomes_a_model_input_and_comes_back_exactly() -> None:
    frames = torch.randint(0, 256, (5, 3, 6, 4), dtype=torch.uint8)
    x = Video(frames, 24.0).to_tensor()
    assert x.shape == (1, 3, 5, 6, 4)
    assert x.is_contiguous()
    assert x[0, 1, 2, 3, 0] == frames[2, 1, 3, 0] / 127.5 - 1
    back = Video.from_tensor(x, 24.0, timestamps_s=(0, 1, 2, 3, 4))
    assert torch.equal(back.frames, frames)
    assert (back.num_frames, back.height, back.width, back.fps) == (5, 6, 4, 24.0)


def test_duration_follows_the_timestamps_where_there_are_some() -> None:
    frames = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    assert Video(frames, 10.0).duration_s == pytest.approx(0.3)
    assert Video(frames, 10.0, timestamps_s=(1.0, 1.5, 4.0)).duration_s == pytest.approx(3.1)


@pytest.mark.parametrize(
    ("frames", "fps", "times"),
    [
        (torch.zeros(2, 3, 4, 4), 24.0, None),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), 24.0, None),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), 24.0, None),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), 0.0, None),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), float("nan"), None),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), 24.0, (0.0,)),
    ],
)
def test_what_is_no_video_is_refused(frames: torch.Tensor, fps: float, times: tuple[float, ...] | None) -> None:
    with pytest.raises(ShapeError):
        Video(frames, fps, times)


def test_two_clips_are_not_one_video() -> None:
    with pytest.raises(ShapeError, match="one clip"):
        Video.from_tensor(torch.zeros(2, 3, 1, 2, 2), 24.0)


@pytest.mark.parametrize(
    ("fps", "fps_max", "interval"),
    [
        (24, 24, 1),
        (23.976, 24, 1),
        (24.0001, 24, 1),
        (30, 29.97, 1),
        (29.97, 30, 1),
        (25, 24, 2),
        (30, 24, 2),
        (48, 24, 2),
        (47.952, 24, 2),
        (60, 16, 4),
        (59.94, 30, 2),
        (60, 29.97, 2),
        (5, 24, 1),
        (1000, 24, 42),
    ],
)
def test_frame_interval_is_the_ceiling_of_the_ratio_up_to_nominal_rates(
    fps: float, fps_max: float, interval: int
) -> None:
    assert frame_interval(fps, fps_max) == interval


@pytest.mark.parametrize(("fps", "fps_max"), [(0, 24), (24, 0), (-1, 24), (24, float("nan")), (float("inf"), 24)])
def test_frame_interval_refuses_rates_that_are_none(fps: float, fps_max: float) -> None:
    with pytest.raises(ConfigError, match="fps"):
        frame_interval(fps, fps_max)
