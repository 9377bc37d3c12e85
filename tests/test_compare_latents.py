"""Latents as pictures and figures."""

import numpy as np
import pytest
import torch

from workbench.compare.latent_figures import (
    channel_grid,
    moments_figure,
    pca_rgb,
    power_spectrum,
    spectrum_figure,
    tile_grid,
)
from workbench.errors import ShapeError


def test_principal_components_are_those_of_a_direct_decomposition():
    torch.manual_seed(0)
    mixing = torch.randn(8, 3) * torch.tensor([5.0, 2.0, 1.0])
    latents = (mixing @ torch.randn(3, 4 * 6 * 5)).unflatten(1, (4, 6, 5))
    rgb = pca_rgb(latents)
    assert rgb.shape == (4, 3, 6, 5)
    centred = latents.flatten(1).numpy() - latents.flatten(1).numpy().mean(1, keepdims=True)
    expected = np.linalg.svd(centred, full_matrices=False)[2][:3]
    for index in range(3):
        shown = rgb[:, index].flatten().double().numpy()
        assert abs(np.corrcoef(shown, expected[index])[0, 1]) > 0.98  # values beyond 2.5 deviations are clipped


def test_what_is_not_there_is_grey():
    constant = pca_rgb(torch.ones(4, 2, 3, 3))
    assert (constant == 128).all()
    one = torch.zeros(4, 1, 1, 2)
    one[2, :, :, 1] = 1.0
    shown = pca_rgb(one)
    assert (shown[:, 1:] == 128).all()
    assert shown[0, 0, 0, 1] > shown[0, 0, 0, 0]  # the sign is fixed: larger values are brighter


def test_channels_are_shown_in_order_each_on_its_own_scale():
    latents = torch.zeros(5, 2, 2)
    latents[3, 0, 0] = 1e-3
    latents[4, 0, 0] = 1e3
    picture = channel_grid(latents.repeat(4, 1, 1), side=8)
    cell = 8 + 2
    assert picture.shape == (3, 2 * cell - 2, 16 * cell - 2)
    third, fourth = (picture[:, :8, n * cell : n * cell + 8] for n in (3, 4))
    assert torch.equal(third, fourth)  # scale does not matter
    assert (picture[:, :8, :8] == 128).all()
    assert third[0, 0, 0] > 128


def test_pictures_stand_row_by_row_and_keep_their_pixels():
    pictures = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 1, 2)
    canvas = tile_grid(pictures, columns=2, scale=2)
    assert canvas.shape == (3, 2 * 2 + 2, 2 * 4 + 2)
    assert (canvas[:, :2, 6:] == 1).all()
    assert (canvas[:, 4:, :4] == 2).all()


def test_white_noise_has_power_one_and_a_wave_has_its_power_at_its_frequency():
    generator = torch.Generator().manual_seed(0)
    frequencies, power = power_spectrum(torch.randn(64, 8, 16, 24, generator=generator))
    assert torch.allclose(power, torch.ones(8, dtype=torch.float64), atol=0.1)
    assert frequencies.diff().min() > 0
    wave = torch.sin(2 * torch.pi * 0.25 * torch.arange(32)).expand(2, 3, 32, 32)
    frequencies, power = power_spectrum(wave)
    assert frequencies[power.argmax()].item() == pytest.approx(0.25, abs=0.03)


def test_a_spectrum_of_very_few_latents_is_empty():
    assert len(power_spectrum(torch.randn(4, 2, 3, 3))[0]) == 0


def test_figures_hold_the_values_and_the_stored_ones_only_if_there_are_any():
    bare = moments_figure([0.0, 1.0], [1.0, 2.0])
    assert [trace.name for trace in bare.data] == ["this clip", "this clip"]
    both = moments_figure([0.0, 1.0], [1.0, 2.0], [0.1, 0.9], [1.1, 2.1])
    assert {trace.name: trace.y for trace in both.data[:2]} == {"stored": (0.1, 0.9), "this clip": (0.0, 1.0)}
    assert spectrum_figure(torch.tensor([0.1, 0.2]), torch.tensor([2.0, 1.0])).data[0].y == (2.0, 1.0)


@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 0, 3, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError):
        pca_rgb(torch.zeros(shape))
