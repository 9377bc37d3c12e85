"""Tile plans and blending, on toy functions whose tiled result must equal the untiled one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigError
from workbench.tile_settings import Tiling
from workbench.tiling import (
    Blend,
    TilePlan,
    finished_frames,
    pad_end,
    plan_decode_side,
    plan_decode_time,
    plan_encode_side,
    plan_encode_time,
    read_tile,
    spread,
    tile_indices,
)

axes = {"pixels": st.integers(1, 700), "stride": st.sampled_from([1, 8, 32]), "tile": st.integers(1, 12)}
factors = st.floats(0, 0.5)


def latent_overlap(tile, factor):
    return math.floor(tile * factor + 1e-9)


@given(**axes, factor=factors)
@settings(max_examples=300, deadline=None)
def test_a_side_never_has_more_tiles_than_the_bound_and_no_slivers(pixels, stride, tile, factor):
    plan = plan_encode_side(pixels, stride, tile, latent_overlap(tile, factor))
    size, overlap = tile * stride, tile * stride * factor
    bound = max(1, math.ceil((pixels - overlap) / (size - overlap) - 1e-9))
    assert len(plan.spans) <= bound
    assert len({span.stop - span.start for span in plan.spans}) == 1, "all tiles have one size"
    assert plan.spans[0].out_start == 0
    assert plan.spans[-1].out_stop == plan.out_length == math.ceil(pixels / stride)


@given(**axes, factor=factors)
@settings(max_examples=200, deadline=None)
def test_weights_sum_to_one_and_are_positive(pixels, stride, tile, factor):
    overlap = latent_overlap(tile, factor)
    for plan in (plan_encode_side(pixels, stride, tile, overlap), plan_decode_side(pixels, stride, tile, overlap)):
        total = torch.zeros(plan.out_length)
        for span, weight in zip(plan.spans, plan.weights, strict=True):
            assert (weight > 0).all()
            total[span.out_start : span.out_stop] += weight
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-6)


def test_tiles_are_spread_evenly_and_end_at_the_edge():
    assert spread(23, 8, 2) == [0, 5, 10, 15]
    assert spread(8, 8, 2) == [0]
    assert spread(9, 8, 2) == [0, 1]


def causal_frames(latents):
    return 1 + 4 * (latents - 1)


@given(latents=st.integers(1, 60), tile=st.integers(2, 17), factor=factors, cut=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_causal_plans_cover_every_latent_and_frame_once_context_is_dropped(latents, tile, factor, cut):
    overlap = max(1, latent_overlap(tile, factor))
    frames = max(1, causal_frames(latents) - cut)
    latents = 1 + math.ceil((frames - 1) / 4)
    encode = plan_encode_time(latents, tile, overlap, causal_frames, context=1)
    decode = plan_decode_time(frames, latents, tile, overlap, causal_frames, context=1)
    for plan in (encode, decode):
        covered = {i for span in plan.spans for i in range(span.out_start, span.out_stop)}
        assert covered == set(range(plan.out_length))
    # The frames of a later tile begin with the last frame that the context latent stands for.
    for read, written in zip(encode.spans[1:], decode.spans[1:], strict=True):
        assert read.start % 4 == 0
        assert (read.skip, written.skip) == (1, 1)
        assert written.out_start == read.start + 1


def test_a_clip_of_65_frames_is_one_causal_tile():
    assert len(plan_encode_time(17, 17, 4, causal_frames, context=1).spans) == 1


def identity_plan(frames, height, width, tile, factor):
    overlap = latent_overlap(tile, factor)
    time = plan_encode_time(frames, tile, overlap, lambda n: n)
    return TilePlan(time, plan_encode_side(height, 1, tile, overlap), plan_encode_side(width, 1, tile, overlap))


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.2, 0.25, 0.5])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 9), (13, 21, 8)])
def test_blending_a_pointwise_function_gives_the_function_itself(factor, shape):
    x = torch.randn(2, 3, *shape)
    plan = identity_plan(*shape, 6, factor)
    whole, window, pieces = Blend(plan), Blend(plan, streaming=True), []
    done = finished_frames(plan.time)
    for t, h, w in tile_indices(plan):
        spans = plan.time.spans[t], plan.height.spans[h], plan.width.spans[w]
        tile = torch.tanh(read_tile(x, *spans))
        whole.add(t, h, w, tile, x.device)
        window.add(t, h, w, tile, x.device)
        if (h, w) == (len(plan.height.spans) - 1, len(plan.width.spans) - 1):
            pieces.append(window.take(done[t]))
    torch.testing.assert_close(whole.total, torch.tanh(x), rtol=0, atol=1e-6)
    assert torch.equal(torch.cat(pieces, dim=2), whole.total)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_padding_repeats_the_last_frame_row_and_column(dtype):
    x = torch.arange(12).view(1, 1, 2, 2, 3).to(dtype)
    padded = pad_end(x, 4, 3, 5)
    assert padded.shape == (1, 1, 4, 3, 5)
    assert torch.equal(padded[:, :, :2, :2, :3], x)
    assert torch.equal(padded[0, 0, :, -1, -1], torch.tensor([5, 11, 11, 11]).to(dtype))


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"tile_overlap_factor": 0.51}, "tile_overlap_factor"),
        ({"tile_overlap_factor": float("nan")}, "tile_overlap_factor"),
        ({"tile_overlap_factor": -0.1}, "tile_overlap_factor"),
        ({"spatial_tile_size": 0}, "spatial_tile_size"),
        ({"temporal_tile_size": -4}, "temporal_tile_size"),
    ],
)
def test_impossible_tilings_name_their_flag(wrong, flag):
    with pytest.raises(ConfigError, match=flag):
        Tiling(**wrong)
