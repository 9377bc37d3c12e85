"""Where nothing moves, nothing may change: the filter by itself, and in the shipped model."""

import pytest
import torch
from skimage import data
from torch import Tensor

import workbench as wb
from workbench.models.stillness import even_drift, moving_share, settled
from workbench.models.streams import ConvStream


def steps(*values: float) -> Tensor:
    """(1, 1, t, 1, 1): one value a step."""
    return torch.tensor(values).view(1, 1, -1, 1, 1)


def test_a_change_of_the_threshold_counts_half():
    none = steps(0.0, 0.0, 0.0)
    assert moving_share(steps(5.0, 5.0, 5.0), none, 2.0).item() == 0
    assert moving_share(steps(5.0, 5.0, 7.0), none, 2.0).item() == 0.5
    assert moving_share(steps(3.0, 5.0, 5.0), none, 2.0).item() == 0.5
    assert moving_share(steps(5.0, 5.0, 5.0), steps(81.0, 4.0, 81.0), 2.0).item() == 0.5
    assert moving_share(steps(0.0, 50.0, 50.0), none, 2.0).item() > 0.99999


def test_half_precision_has_room_for_the_largest_change():
    black_to_white = steps(0.0, 255.0, 255.0).half()
    assert moving_share(black_to_white, torch.zeros_like(black_to_white), 1.5).item() > 0.99999


def test_what_is_still_becomes_the_mean_and_what_moves_stays():
    values, steady = steps(1.0, 2.5, 6.0), steps(1.0, 2.0, 6.0)
    assert settled(values, steady, steps(0.0)).item() == 3.0
    assert settled(values, steady, steps(1.0)).item() == 2.5
    assert settled(values, steady, steps(0.5)).item() == 2.75


def test_a_drift_goes_on_within_steps_and_noise_does_not():
    fading = torch.tensor([10.0, 6.0, 2.0]).view(1, 1, 1, 3, 1, 1)
    assert even_drift(fading, 4, noise=1e-3).flatten().tolist() == pytest.approx([1.5, 0.5, -0.5, -1.5])
    assert even_drift(fading, 4, noise=4.0).flatten().tolist() == pytest.approx([0.75, 0.25, -0.25, -0.75])
    assert even_drift(fading / 100, 4, noise=4.0).abs().max() < 1e-5


def with_noise(frames: list[Tensor]) -> Tensor:
    """Photos of 64 x 64 with the noise of a camera, one grey level, as a clip (1, 3, T, 64, 64) in [-1, 1]."""
    clip = torch.stack(frames, dim=1)[None].float() / 127.5 - 1
    return clip + torch.randn(clip.shape, generator=torch.Generator().manual_seed(0)) / 127.5


def mean_change(x: Tensor) -> float:
    """Of all pixels from frame to frame, in grey levels."""
    return 127.5 * x.diff(dim=2).abs().mean().item()


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)


@torch.inference_mode()
def test_the_shipped_model_keeps_a_still_scene_stiller_than_the_baseline(photo):
    scene = with_noise([photo[:, 40:104, 200:264]] * 16)
    plain, shipped = (
        mean_change(wb.load_autoencoder("tiny", device="cpu", architecture=changes)(scene).reconstruction)
        for changes in ({"still_below": 0.0}, {})
    )
    baseline = mean_change(wb.load_autoencoder("dct", device="cpu")(scene).reconstruction)
    assert shipped < baseline < plain
    assert shipped < 0.3 * plain


@torch.inference_mode()
def test_the_shipped_model_leaves_motion_alone(photo):
    panned = with_noise([photo[:, 40:104, 150 + 3 * i : 214 + 3 * i] for i in range(16)])
    plain, shipped = (
        wb.load_autoencoder("tiny", device="cpu", architecture=changes)(panned).reconstruction
        for changes in ({"still_below": 0.0}, {})
    )
    assert mean_change(shipped) > 0.95 * mean_change(plain)
    assert (shipped - panned).square().mean() < 1.01 * (plain - panned).square().mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_a_cut_survives_half_precision(photo, dtype):
    cut = with_noise([photo[:, 40:104, 200:264]] * 6 + [255 - photo[:, 200:264, 40:104]] * 6)
    full = wb.load_autoencoder("tiny", device="cpu")
    half = wb.load_autoencoder("tiny", device="cpu", dtype=dtype)
    error, of_half = ((ae(cut).reconstruction.float() - cut).square().mean() for ae in (full, half))
    assert of_half < 1.1 * error


@pytest.mark.parametrize("pushes", [[1], [1, 1], [2, 1], [1, 1, 1, 1, 1], [5, 2, 1]])
def test_streamed_a_clip_stands_still_before_and_after_it_too(pushes):
    x = torch.randn(1, 2, sum(pushes), 3, 3, generator=torch.Generator().manual_seed(0))
    stream = ConvStream(lambda window: settled(window, window, torch.tensor(0.3)), repeats=True)
    parts = [stream(part, number == len(pushes) - 1) for number, part in enumerate(x.split(pushes, dim=2))]
    streamed = torch.cat([part for part in parts if part is not None], dim=2)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
    mean = padded.unfold(2, 3, 1).mean(-1)
    torch.testing.assert_close(streamed, 0.7 * mean + 0.3 * x)


@torch.inference_mode()
def test_a_slow_fade_makes_no_steps_between_latents(photo):
    scene = photo[:, 40:168, 150:310].float()
    fade = torch.stack([scene * (1 - 0.005 * i) for i in range(24)], dim=1)[None] / 127.5 - 1
    faded = wb.load_autoencoder("tiny", device="cpu")(fade).reconstruction
    changes = faded.mean((0, 1, 3, 4)).diff()[3:-4]
    assert (changes < 0.6 * changes.mean()).all()
    assert (changes > 1.5 * changes.mean()).all()
