"""What a visitor is told while a job runs."""

import time

import pytest
import torch

from workbench.models.coding import encode_pieces
from workbench.models.cost import encode_share
from workbench.models.registry import build_autoencoder
from workbench.roundtrip.clock import Clock
from workbench.roundtrip.progress import ProgressMeter
from workbench.steps import Progress
from workbench.tile_settings import Tiling


def test_time_left_follows_the_pace_of_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 103.0, 104.0, 106.0, 107.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = ProgressMeter(stages=3)
    meter.add(Progress("count", 12, 0))
    meter.add(Progress("encode", 1, 6))
    meter.add(Progress("encode", 3, 6))
    assert meter.share == pytest.approx(1 / 6)
    assert meter.seconds_left is None  # decoding takes longer, nobody knows by how much
    meter.add(Progress("decode", 2, 4))
    assert meter.seconds_left == pytest.approx(3 + 2 + 5)
    meter.add(Progress("measure", 4, 12))
    assert meter.share == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)
    assert meter.seconds_left == pytest.approx(3 + 2 + 2)


def test_time_left_before_anything_is_decoded_is_at_the_encoders_pace_where_its_share_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([100.0, 107.0, 108.0, 110.0, 115.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = ProgressMeter(stages=3)
    meter.add(Progress("encode", 0, 4, share=0.2))  # the seven seconds were those of loading
    assert meter.seconds_left is None
    meter.add(Progress("encode", 1, 4))
    assert meter.seconds_left == pytest.approx(4 / 0.2 - 1)
    meter.add(Progress("encode", 2, 4))
    assert meter.seconds_left == pytest.approx(6 / 0.2 - 3)
    meter.add(Progress("decode", 1, 2))
    assert meter.seconds_left == pytest.approx(3 + 5 + 8)


@pytest.mark.parametrize(("name", "low", "high"), [("dct", 0.49, 0.51), ("tiny", 0.05, 0.3), ("hunyuan_vae", 0.1, 0.5)])
def test_the_encoders_share_is_counted(name: str, low: float, high: float) -> None:
    with torch.device("meta"):
        share = encode_share(build_autoencoder(name))
    assert low < share < high


def test_what_is_streamed_counts_a_piece_before_others_work_on_it() -> None:
    x = torch.zeros(1, 3, 16, 32, 32)
    seen = []
    pieces = encode_pieces(build_autoencoder("dct"), iter([x]), (16, 32, 32), Tiling(push_frames=4))
    for item in pieces:
        seen.append(item.done if isinstance(item, Progress) else "latents")
    assert seen == [1, "latents", 2, "latents", 3, "latents", 4, "latents"]


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


def test_seconds_are_charged_to_the_innermost_part_alone(monkeypatch):
    """Reading a chunk takes 1 s, the encoder 10 s around it, of which 4 in the model, the decoder 100 s around that."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    clock = Clock()

    def spend(seconds):
        nonlocal now
        now += seconds

    def read():
        for _ in range(3):
            spend(1.0)
            yield "frames"

    def encode():
        for _ in clock.watch("read", read()):
            clock.timer("encode")(lambda: spend(4.0))
            spend(6.0)
            yield "latents"

    def decode():
        for _ in clock.watch("encode", encode()):
            spend(100.0)
            yield "output"

    for _ in clock.watch("decode", decode()):
        spend(1000.0)  # measuring and writing are nobody's
    assert clock.seconds == {
        "encode_model_s": 12.0,
        "encode_total_s": 30.0,
        "decode_model_s": 0.0,
        "decode_total_s": 300.0,
    }
