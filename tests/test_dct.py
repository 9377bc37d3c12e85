"""The linear baseline: an orthonormal zonal block DCT of the Video DC-AE's rate."""

from copy import deepcopy

import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from skimage import data

from workbench.models.dct import DCT, DCTConfig


@pytest.fixture(scope="module")
def ae() -> DCT:
    return DCT(DCTConfig()).eval()


@pytest.fixture(scope="module")
def panned_photo() -> torch.Tensor:
    """A real clip (1, 3, 8, 224, 256) in [-1, 1]: a window that moves one pixel a frame over a photograph."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 127.5 - 1
    return torch.stack([photo[:, 40:264, start : start + 256] for start in range(100, 108)], dim=1)[None]


def random_clip(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    return (10 * torch.log10(4 / (x - y).square().mean())).item()


@pytest.mark.parametrize(("name", "frames"), [("video_basis", 4), ("image_basis", 1)])
def test_the_basis_has_128_orthonormal_vectors(ae, name, frames):
    basis = getattr(ae, name)
    assert basis.shape == (128, 3, frames, 32, 32)
    vectors = basis.flatten(1).double()
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(128, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [4, 1])
def test_latents_are_low_frequencies_of_scipys_dct(ae, frames):
    block = random_clip(3, frames, 32, 32)
    spectrum = torch.from_numpy(scipy.fft.dctn(block.double().numpy(), norm="ortho"))
    reconstruction = ae.decode(ae.encode(block[None]), frames, (32, 32))[0]
    kept = torch.from_numpy(scipy.fft.dctn(reconstruction.double().numpy(), norm="ortho"))
    zone = kept.abs() > 1e-4
    assert zone.sum() == 128
    assert zone[0, 0, 0, 0]
    torch.testing.assert_close(kept[zone], spectrum[zone], rtol=0, atol=1e-5)
    sizes = ae.encode(block[None]).double().abs().flatten().sort().values
    torch.testing.assert_close(sizes, spectrum[zone].abs().sort().values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [8, 1])
def test_the_error_is_the_energy_of_the_dropped_coefficients(ae, frames):
    ae, x = deepcopy(ae).double(), random_clip(2, 3, frames, 64, 96).double()  # the basis itself is of float32
    z = ae.encode(x)
    error = (ae.decode(z) - x).square().sum()
    torch.testing.assert_close(error, x.square().sum() - z.square().sum(), rtol=1e-5, atol=0)


def test_any_latents_survive_decoding_and_encoding(ae):
    ae = deepcopy(ae).double()
    for shape, frames in [((2, 128, 3, 2, 4), 12), ((2, 128, 1, 2, 4), 1)]:
        z = random_clip(*shape).double()
        torch.testing.assert_close(ae.encode(ae.decode(z, frames)), z, rtol=0, atol=1e-5)


def test_a_grey_clip_is_one_number_per_block_and_exact(ae):
    x = torch.full((1, 3, 4, 32, 64), 0.25)
    z = ae.encode(x)
    torch.testing.assert_close(z[0, 0], torch.full((1, 1, 2), 0.25 * (3 * 4 * 32 * 32) ** 0.5), rtol=1e-4, atol=0)
    assert z[:, 1:].abs().max() < 1e-3
    torch.testing.assert_close(ae.decode(z, 4), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 29, 52])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 64)])
def test_what_goes_in_comes_out_in_the_same_shape(ae, frames, size):
    x = random_clip(2, 3, frames, *size)
    z = ae.encode(x)
    assert z.shape == (2, *ae.latent_shape(frames, *size))
    assert ae.decode(z, frames, size).shape == x.shape
    assert ae(x).reconstruction.shape == x.shape


def test_blocks_do_not_touch_each_other(ae):
    x = random_clip(1, 3, 12, 96, 128)
    changed = x.clone()
    changed[:, :, 4:8, 32:64, 96:128] += 0.5
    of_latents = (ae.encode(changed) - ae.encode(x)).abs().amax((0, 1))
    assert of_latents[1, 1, 3] > 1
    of_latents[1, 1, 3] = 0
    assert of_latents.max() == 0
    of_frames = (ae(changed).reconstruction - ae(x).reconstruction).abs()
    of_frames[:, :, 4:8, 32:64, 96:128] = 0
    assert of_frames.max() == 0


def test_beats_averages_of_pixels_at_a_higher_rate(ae, panned_photo):
    """192 averages of 4 x 4 x 4 pixels a block against 128 coefficients."""
    averages = F.avg_pool3d(panned_photo, 4)
    averaged = F.interpolate(averages, scale_factor=4, mode="nearest")
    assert psnr(panned_photo, ae(panned_photo).reconstruction) > psnr(panned_photo, averaged) + 2


def test_an_image_keeps_more_detail_than_a_moving_clip(ae, panned_photo):
    frame = panned_photo[:, :, :1]
    assert psnr(frame, ae(frame).reconstruction) > psnr(panned_photo, ae(panned_photo).reconstruction) + 1


def test_bfloat16_costs_little(ae, panned_photo):
    low = DCT(DCTConfig()).to(torch.bfloat16)
    y = low(panned_photo).reconstruction
    assert y.dtype == torch.bfloat16
    assert abs(psnr(panned_photo, y.float()) - psnr(panned_photo, ae(panned_photo).reconstruction)) < 0.05


def test_there_is_nothing_to_save_or_train(ae):
    assert not ae.state_dict()
    assert not list(ae.parameters())
    assert ae.last_layer is None
