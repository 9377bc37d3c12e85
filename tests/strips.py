"""What several ranks do with a local stage, one after another: strips of a frame under each other are the whole."""

import torch
from torch import Tensor

from workbench.stages import LocalStage, Stage, strips_of


def assert_strips_are_the_whole(stage: Stage, x: Tensor, push: int, counts: tuple[int, ...] = (2, 3)) -> None:
    """Every strip, of the rows that it reads alone, equals the same rows of the stage on all of x."""
    assert isinstance(stage, LocalStage)
    whole = streamed(stage, x, push)
    for count in counts:
        strips = strips_of(stage, x.shape[3], count)
        assert len(strips.spans) == count
        parts = []
        for span in strips.spans:
            rows = streamed(stage, x[:, :, :, span.start : span.stop], push)
            parts.append(rows[:, :, :, span.skip : span.skip + span.out_stop - span.out_start])
        torch.testing.assert_close(torch.cat(parts, dim=3), whole)


def streamed(stage: LocalStage, x: Tensor, push: int) -> Tensor:
    """The stage on all of x, pushed in pieces."""
    stream, pieces = stage.stream(push), x.split(push, dim=2)
    with torch.no_grad():
        return torch.cat([y for piece in pieces for y in stream(piece, piece is pieces[-1])], dim=2)
