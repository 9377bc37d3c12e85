"""Output and weights that are NaN or infinite end a job with a line that says so; nothing of them is measured."""

from pathlib import Path

import pytest
import torch
from clips import moving_video, write_clip
from safetensors.torch import save_file
from small_models import ARCHITECTURES, small_model

import workbench as wb
from workbench.errors import NonFiniteError
from workbench.evaluate.clip import evaluate_clip
from workbench.finite import is_finite
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.models.base import Autoencoder
from workbench.roundtrip.clip import reconstruct_file


@pytest.fixture
def broken() -> Autoencoder:
    """A model whose decoder gives NaN alone, as half precision does where a value overflows."""
    ae = small_model("tiny")
    ae.last_layer.fill_(torch.nan)
    return ae


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_one_value_is_enough_to_be_not_finite(dtype: torch.dtype) -> None:
    x = torch.ones(3, 5, dtype=dtype)
    assert is_finite(x)
    assert is_finite(x[:0])
    if dtype.is_floating_point:
        for value in (torch.nan, torch.inf, -torch.inf):
            x[1, 2] = value
            assert not is_finite(x)


def test_a_failed_decode_ends_a_reconstruction_and_leaves_no_file(broken: Autoencoder, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5, 40, 48)
    line = r"tiny in float32 gives frames that are not finite \(NaN or Inf\) on a tile of \w+; the weights may"
    with pytest.raises(NonFiniteError, match=line):
        reconstruct_file(broken, clip, tmp_path / "out.mp4")
    with pytest.raises(NonFiniteError, match=line):
        wb.reconstruct(broken, moving_video(5, 40, 48))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_failed_decode_gives_no_row_of_an_evaluation(broken: Autoencoder, tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "clip.mp4", 5, 40, 48), ClipPolicy())
    with pytest.raises(NonFiniteError, match="frames that are not finite"):
        evaluate_clip(broken, clip, wb.Tiling())


@pytest.mark.parametrize(("dtype", "remedy"), [("float16", "float32 or bfloat16"), ("bfloat16", "float32")])
def test_the_remedy_is_a_type_of_larger_range(dtype: str, remedy: str) -> None:
    ae = wb.load_autoencoder("dct", device="cpu", dtype=dtype)
    x = torch.full((1, 3, 4, 32, 32), 3e38 if dtype == "bfloat16" else 6e4)
    with pytest.raises(NonFiniteError, match=f"dct in {dtype} gives latents .* tile of 4x32x32; use `dtype` {remedy}"):
        wb.encode_tiled(ae, x)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_the_name_of_the_tensor(tmp_path: Path, value: float) -> None:
    state = {name: tensor.clone() for name, tensor in small_model("tiny").state_dict().items()}
    name = list(state)[3]
    state[name].view(-1)[0] = value
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(wb.WeightsError, match=rf"1 of its tensors hold NaN or Inf, the first is {name}"):
        wb.load_autoencoder("tiny", tmp_path / "broken.safetensors", architecture=ARCHITECTURES["tiny"])


def test_frames_that_are_not_finite_are_no_video() -> None:
    with pytest.raises(NonFiniteError, match="no video"):
        wb.Video.from_tensor(torch.full((1, 3, 2, 4, 4), torch.nan), 24.0)
