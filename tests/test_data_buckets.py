"""Clips go to the right buckets, and an epoch is the same everywhere."""

from collections import Counter

import pytest

from workbench.data.buckets import Buckets, EpochPlan, check_bucket_config
from workbench.errors import ConfigError, DataError
from workbench.media.index import Clip


def clip(num_frames=100, height=512, width=512, fps=24.0, name="a"):
    return Clip(f"{name}.mp4", num_frames, height, width, fps)


def bucket_of(clip, config, fps_max=24.0, multiple=32):
    """(resolution, frames, height, width) of the bucket that a clip prefers, None if it fits none."""
    filler = Clip("filler.mp4", 10_000, 4096, 4096, 24.0)
    buckets = Buckets([clip, filler], config, multiple, fps_max)
    first = next((buckets.all[number] for number in buckets.choices[0]), None)
    return first and (first.resolution, first.num_frames, first.height, first.width)


def mixed_clips(count=97):
    sizes = [(256, 256), (256, 512), (512, 256), (240, 256)]
    return [clip(20 + number % 3 * 20, *sizes[number % 4], name=str(number)) for number in range(count)]


MIXED = {"256px": {48: (0.5, 1), 32: (0.7, 2), 1: (1.0, 4)}}


@pytest.mark.parametrize(
    ("source", "config", "expected"),
    [
        (clip(height=460, width=460), {"512px_ar1:1": {32: (1, 1)}, "256px_ar1:1": {32: (1, 1)}}, ("512px_ar1:1", 512)),
        (clip(height=456, width=456), {"512px_ar1:1": {32: (1, 1)}, "256px_ar1:1": {32: (1, 1)}}, ("256px_ar1:1", 256)),
        (clip(height=100, width=100), {"256px_ar1:1": {32: (1, 1)}}, None),
    ],
)
def test_a_clip_goes_to_the_largest_resolution_of_which_it_has_80_percent(source, config, expected):
    bucket = bucket_of(source, config)
    assert (bucket and (bucket[0], bucket[2])) == expected


@pytest.mark.parametrize(
    ("num_frames", "fps", "fps_max", "expected"),
    [
        (96, 24.0, 24.0, 96),
        (95, 24.0, 24.0, 32),
        (31, 24.0, 24.0, 1),
        (191, 30.0, 24.0, 96),  # every second frame
        (190, 30.0, 24.0, 32),
        (96, 30.0, 30.0, 96),
        (96, 0.0, 24.0, 96),  # no rate stated
        (1, 0.0, 24.0, 1),
    ],
)
def test_then_to_the_longest_frame_count_that_it_can_fill_at_fps_max(num_frames, fps, fps_max, expected):
    config = {"256px_ar1:1": {1: (1.0, 1), 96: (1.0, 1), 32: (1.0, 1)}}
    assert bucket_of(clip(num_frames, fps=fps), config, fps_max)[1] == expected


def test_a_clip_too_short_for_its_resolution_goes_to_a_smaller_one():
    config = {"512px_ar1:1": {96: (1.0, 1)}, "256px_ar1:1": {32: (1.0, 1)}}
    assert bucket_of(clip(40), config)[:2] == ("256px_ar1:1", 32)


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (1920, 1080), (500, 500), (400, 960)])
def test_the_shape_has_the_nearest_aspect_ratio_and_legal_sides(height, width):
    shape = bucket_of(clip(height=height, width=width), {"256px": {32: (1.0, 1)}})[2:]
    assert shape[0] % 32 == shape[1] % 32 == 0
    assert 0.8 < (shape[0] / shape[1]) / (height / width) < 1.25


def test_probabilities_share_out_the_clips():
    clips = [clip(100, 256, 256, name=str(number)) for number in range(4000)]
    config = {"256px_ar1:1": {48: (0.25, 1), 32: (0.5, 1), 16: (0.0, 1), 1: (0.5, 1)}}
    buckets = Buckets(clips, config, 32, 24.0)
    shares = [len(members) / len(clips) for members in buckets.assign(seed=1, epoch=0)]
    assert shares == pytest.approx([0.25, 0.375, 0.0, 0.1875], abs=0.03)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_rank_takes_the_same_number_of_full_steps_and_every_clip_comes(world_size):
    buckets = Buckets(mixed_clips(), MIXED, 32, 24.0)
    plan = EpochPlan(buckets, 7, 0, world_size)
    used = Counter()
    for step in plan.steps:
        order = plan.orders[step.bucket]
        places = range(step.first, step.first + step.bucket.batch_size * world_size)
        used.update(int(order[place % len(order)]) for place in places)
    assigned = [number for members in buckets.assign(7, 0) for number in members]
    assert set(used) == set(assigned)
    assert sum(used.values()) == plan.samples_before(len(plan.steps))
    assert plan.samples_before(len(plan.steps)) - len(assigned) < sum(
        bucket.batch_size * world_size for bucket in plan.orders
    )


def test_an_epoch_is_a_function_of_seed_and_number():
    buckets = Buckets(mixed_clips(), MIXED, 32, 24.0)

    def order(seed, epoch):
        plan = EpochPlan(buckets, seed, epoch, 2)
        return plan.steps, {bucket: clips.tolist() for bucket, clips in plan.orders.items()}

    assert order(1, 5) == order(1, 5)
    assert order(1, 5) != order(1, 6)
    assert order(1, 5) != order(2, 5)


@pytest.mark.parametrize("world_size", [1, 4])
def test_half_an_epoch_uses_the_first_half_of_every_bucket_on_any_number_of_ranks(world_size):
    clips = [clip(60, 256, 256 * (1 + number % 2), name=str(number)) for number in range(600)]
    plan = EpochPlan(Buckets(clips, {"256px": {32: (1.0, 2)}}, 32, 24.0), 3, 0, world_size)
    position = plan.position_after(300)
    assert 0 <= plan.samples_before(position) - 300 < 2 * world_size
    for bucket in plan.orders:
        firsts = [step.first for step in plan.steps[:position] if step.bucket == bucket]
        assert firsts == list(range(0, len(firsts) * 2 * world_size, 2 * world_size))
        assert abs(len(firsts) * 2 * world_size - 150) <= 2 * world_size


def test_no_clip_that_fits_is_an_error_that_says_what_is_needed():
    with pytest.raises(DataError, match=r"52429 pixels.*largest clip is 200x100.*needs 32 frames.*longest clip has 9"):
        Buckets([clip(9, 100, 200)], {"256px_ar1:1": {32: (1.0, 1)}}, 32, 24.0)


def test_an_epoch_without_clips_is_an_error():
    with pytest.raises(DataError, match="left no clip for epoch 0"):
        EpochPlan(Buckets([clip()], {"256px_ar1:1": {32: (0.0, 1)}}, 32, 24.0), 0, 0, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "it is empty"),
        ({"256px": {}}, "it is empty"),
        ({"256xp": {32: (1.0, 1)}}, "did you mean 256px"),
        ({"256": {32: (1.0, 1)}}, "write 256px or 256px_ar1:1"),
        ({"256px": {0: (1.0, 1)}}, "number of frames: 0"),
        ({"256px": {32: (1.5, 1)}}, "probability: 1.5"),
        ({"256px": {32: (float("nan"), 1)}}, "probability: nan"),
        ({"256px": {32: (1.0, 0)}}, "batch size: 0"),
    ],
)
def test_a_wrong_bucket_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        check_bucket_config(config)
