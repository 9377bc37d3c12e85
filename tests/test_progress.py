"""What a visitor is told while a job runs."""

import time

import pytest

from workbench.roundtrip.progress import ProgressMeter
from workbench.steps import Progress
from workbench.ui import pieces


def test_time_left_follows_the_pace_of_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 103.0, 104.0, 106.0, 107.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = ProgressMeter(stages=3)
    meter.add(Progress("count", 12, 0))
    meter.add(Progress("encode", 1, 6))
    meter.add(Progress("encode", 3, 6))
    assert meter.share == pytest.approx(1 / 6)
    assert meter.seconds_left is None  # decoding takes longer, nobody knows by how much
    assert "Tile 3 of 6 (encode), the time left is told while it decodes" in pieces.progress(meter)
    meter.add(Progress("decode", 2, 4))
    assert meter.seconds_left == pytest.approx(3 + 2 + 5)
    meter.add(Progress("measure", 4, 12))
    assert meter.share == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)
    assert meter.seconds_left == pytest.approx(3 + 2 + 2)


@pytest.mark.parametrize(
    ("told", "untold", "stages"),
    [
        (["tiny: decode", "dct: encode", "dct: decode", "write"], ["tiny: encode"], 5),
        (["one piece: decode", "tiles: encode"], ["one piece: encode"], 4),
        (["encode"], [], 1),
    ],
)
def test_time_left_is_told_once_a_tile_is_decoded_or_no_stage_is_to_come(told, untold, stages) -> None:
    meter = ProgressMeter(stages)
    for stage in (*untold, *told):
        meter.add(Progress(stage, 1, 2))
        assert (meter.seconds_left is None) == (stage in untold), stage
