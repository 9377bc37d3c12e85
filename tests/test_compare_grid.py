"""Clips in a grid: every panel where it belongs, pixel by pixel."""

import pytest
import torch

from workbench.compare.grid import grid
from workbench.errors import ShapeError


def clip(level: int, width: int = 50) -> torch.Tensor:
    return torch.full((2, 3, 40, width), level, dtype=torch.uint8)


def panels_of(frames: torch.Tensor, level: int) -> int:
    """How many pixels of the first frame have exactly this grey level."""
    return int((frames[0] == level).all(0).sum())


@pytest.mark.parametrize(("count", "wide"), [(2, 2), (3, 2), (4, 2), (5, 3)])
def test_every_panel_is_shown_whole_in_about_as_many_columns_as_rows(count, wide):
    frames = grid({f"model {level}": clip(level) for level in range(100, 100 + count)})
    assert all(panels_of(frames, level) >= 40 * 50 for level in range(100, 100 + count))
    assert 50 * wide <= frames.shape[3] < 50 * (wide + 1)
    assert frames.shape[0] == 2
    assert frames.shape[2] % 2 == frames.shape[3] % 2 == 0


def test_a_clip_comes_the_same_slab_by_slab():
    clips = {label: torch.randint(256, (4, 3, 20, 30), dtype=torch.uint8) for label in "abc"}
    slabs = [grid({label: frames[start : start + 2] for label, frames in clips.items()}) for start in (0, 2)]
    assert torch.equal(torch.cat(slabs), grid(clips))


def test_clips_of_different_shapes_are_refused():
    with pytest.raises(ShapeError, match="of one shape"):
        grid({"a": clip(1), "b": clip(2, width=52)})
    with pytest.raises(ShapeError, match="none"):
        grid({})
