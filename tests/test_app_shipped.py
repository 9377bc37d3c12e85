"""What is shipped for the first sight is what the models give; `python -m workbench.ui.shipped` makes it anew."""

from pathlib import Path

import pytest

from workbench.evaluate.clip import evaluate_clip
from workbench.media.policy import ClipPolicy
from workbench.media.reader import probe
from workbench.media.source import open_clip
from workbench.models.registry import load_autoencoder
from workbench.tile_settings import OWN_TILING
from workbench.ui.shipped import CLIP, MODELS, SHIPPED, shipped_cards, shipped_result


@pytest.mark.parametrize("model", ["dct", pytest.param("tiny", marks=pytest.mark.slow)])
def test_shipped_figures_are_those_of_the_model(model: str) -> None:
    shown = shipped_result(f"shipped-{model}")
    clip = open_clip(CLIP, ClipPolicy(), 32)
    values = evaluate_clip(load_autoencoder(model), clip, OWN_TILING).result.metrics["psnr"]
    (psnr,) = (metric for metric in shown["metrics"] if metric["name"] == "psnr")
    assert psnr["values"] == pytest.approx(values, abs=0.02)  # sums in another order move a grey level here and there
    assert psnr["mean"] == pytest.approx(sum(values) / len(values), abs=0.01)


def test_shipped_files_are_there_small_and_whole() -> None:
    for card in shipped_cards():
        shown = shipped_result(card["id"])
        assert card["is_shipped"]
        assert (shown["label"], shown["num_frames"]) == (card["label"], probe(CLIP).estimated_frames)
        video = probe(Path(shown["output"]))
        assert (video.estimated_frames, video.height, video.width) == (48, shown["height"], shown["width"])
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_500_000
    assert len(shipped_cards()) == len(MODELS)
    assert shipped_result("tiny") is shipped_result("shipped-../x") is None
