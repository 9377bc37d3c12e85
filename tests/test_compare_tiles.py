"""Pictures of a tile plan show the tiles that it has."""

import pytest
import torch

from workbench.compare.tile_figures import coverage, tile_picture, time_figure
from workbench.errors import ShapeError
from workbench.models.plans import tile_plans
from workbench.models.registry import build_autoencoder
from workbench.tile_settings import Tiling


def plan(overlap: float = 0.25, frames: int = 24, height: int = 128, width: int = 200):
    tiling = Tiling(spatial_tile_size=128, temporal_tile_size=8, tile_overlap_factor=overlap)
    return tile_plans(build_autoencoder("dct"), frames, height, width, tiling)[1]


def test_pixels_that_several_tiles_give_are_tinted_and_others_are_not():
    decode = plan()
    counts = coverage(decode)
    assert counts.shape == (128, 200)
    assert counts.min() == 1
    assert counts.max() == 2
    picture = tile_picture(torch.zeros(3, 128, 200, dtype=torch.uint8), decode)
    inside = torch.zeros(128, 200, dtype=torch.bool)
    inside[10:40, 10:30] = True  # away from outlines and numbers
    assert (picture[:, inside] == 0).all()
    middle = counts[64].eq(2).nonzero().flatten().float().mean().round().int()
    assert picture[0, 20, middle] > picture[2, 20, middle]  # yellow


def test_without_overlap_nothing_is_tinted():
    assert coverage(plan(overlap=0.0, width=256)).max() == 1


def test_every_tile_in_time_has_its_bar():
    decode = plan()
    bars = time_figure(decode.time).data[0]
    assert list(bars.base) == [span.out_start for span in decode.time.spans]
    assert len(bars.base) > 1
    assert bars.base[-1] + bars.x[-1] == 24


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="drawn over"):
        tile_picture(torch.zeros(3, 64, 64, dtype=torch.uint8), plan())
