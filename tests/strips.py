"""What several ranks do with a local stage, one after another: strips of a frame under each other are the whole."""

import torch
from torch import Tensor

from workbench.stages import LocalStage, Stage, strips_of


def assert_strips_are_the_whole(stage: Stage, x: Tensor, push: int, counts: tuple[int, ...] = (2, 3)) -> None:
    """Every strip, of the rows that it reads alone, equals the same rows of the stage on all of x.

    How many it reads is no guess: as many as the stage depends on, and fewer than all.
    """
    assert isinstance(stage, LocalStage)
    assert stage.reach == reach_seen(stage, x, push)
    assert x.shape[3] // stage.cell[0] > 2 * stage.reach
    whole = streamed(stage, x, push)
    for count in counts:
        strips = strips_of(stage, x.shape[3], count)
        assert len(strips.spans) == count
        parts = []
        for span in strips.spans:
            rows = streamed(stage, x[:, :, :, span.start : span.stop], push)
            parts.append(rows[:, :, :, span.skip : span.skip + span.out_stop - span.out_start])
        torch.testing.assert_close(torch.cat(parts, dim=3), whole)


def reach_seen(stage: LocalStage, x: Tensor, push: int) -> int:
    """How many cells away a NaN in the rows of the first or the last cell is seen; weights of zero pass it on too."""
    seen, (cell_in, cell_out) = 0, stage.cell
    cells = x.shape[3] // cell_in
    for at in (0, cells - 1):
        marked = x.clone()
        marked[:, :, :, at * cell_in : (at + 1) * cell_in] = torch.nan
        rows = streamed(stage, marked, push).isnan().any(4).flatten(0, 2).any(0)
        touched = rows.view(cells, cell_out).any(1).nonzero()
        seen = max(seen, int((touched - at).abs().max()))
    return seen


def streamed(stage: LocalStage, x: Tensor, push: int) -> Tensor:
    """The stage on all of x, pushed in pieces."""
    stream, pieces = stage.stream(push), x.split(push, dim=2)
    with torch.no_grad():
        return torch.cat([y for piece in pieces for y in stream(piece, piece is pieces[-1])], dim=2)
