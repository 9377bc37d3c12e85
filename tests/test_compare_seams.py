"""Seams: a known step at the border of tiles is found, where it is and how large."""

import math

import pytest
import torch
from torch import Tensor

from workbench.compare.seams import borders, find_seams
from workbench.course.tiles import run_tiles
from workbench.errors import ShapeError
from workbench.steps import drain
from workbench.tiling import TilePlan, plan_encode_side, whole_axis


def spatial_plan(overlap: int) -> TilePlan:
    """64 x 96 pixels in tiles of 32, at one pixel a latent."""
    height, width = (plan_encode_side(side, 1, 32, overlap) for side in (64, 96))
    return TilePlan(whole_axis(4, 4), height, width)


def brightened(plan: TilePlan, x: Tensor, levels: float) -> Tensor:
    """The clip (T, 3, H, W) tile by tile, every tile brighter than the one before it."""
    calls = iter(range(len(plan)))
    steps = run_tiles(plan, x.transpose(0, 1)[None], lambda tile: tile + levels * next(calls), "decode")
    return drain(steps)[0].transpose(0, 1)


def test_a_known_step_between_tiles_is_found_at_their_borders_alone():
    x = torch.rand(4, 3, 64, 96) * 255
    plan = spatial_plan(overlap=0)
    seams = find_seams(brightened(plan, x, levels=2.0), x, plan, data_range=255)
    assert borders(plan.width) == [32, 64]
    assert seams.jumps["width"].at_borders == pytest.approx(2.0, abs=1e-3)  # from each tile to its right neighbour
    assert seams.jumps["height"].at_borders == pytest.approx(6.0, abs=1e-3)  # three tiles further
    assert seams.jumps["width"].elsewhere == pytest.approx(0.0, abs=1e-3)
    assert math.isnan(seams.jumps["time"].at_borders)
    assert seams.map_HW[40, 70].item() == pytest.approx(10.0, abs=1e-3)  # the sixth tile


def test_overlap_makes_the_step_smaller():
    x = torch.rand(4, 3, 64, 96) * 255
    jumps = [
        find_seams(brightened(plan, x, levels=2.0), x, plan, data_range=255).jumps["width"].at_borders
        for plan in (spatial_plan(0), spatial_plan(8))
    ]
    assert jumps[1] < jumps[0] / 3


def test_tiles_that_change_nothing_leave_no_seam():
    x = torch.rand(4, 3, 64, 96) * 2 - 1
    plan = spatial_plan(overlap=8)
    seams = find_seams(brightened(plan, x, levels=0.0), x, plan, data_range=2)
    assert seams.map_HW.max() < 1e-3


def test_clips_that_the_plan_does_not_give_are_refused():
    x = torch.zeros(4, 3, 64, 95)
    with pytest.raises(ShapeError, match="seams of a plan"):
        find_seams(x, x, spatial_plan(0), data_range=2)
