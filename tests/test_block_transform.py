"""The block transform of `tiny`: frequencies chosen block by block."""

import hashlib

import pytest
import torch
from skimage import data
from torch import Tensor

from workbench.models.block_transform import AdaptiveTransform, frequency_sets


@pytest.fixture(scope="module")
def transform() -> AdaptiveTransform:
    return AdaptiveTransform()


def clip_of(move: int, frames: int = 8) -> Tensor:
    """(1, 3, T, 96, 128) in [-1, 1]: a window that moves so many pixels a frame over a photograph."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 127.5 - 1
    return torch.stack([photo[:, 40:136, 150 + move * i : 278 + move * i] for i in range(frames)], dim=1)[None]


def sets_of(z: Tensor) -> Tensor:
    """Which motion and which stripes the blocks of latents say, (2, blocks)."""
    deviations = torch.tensor([5 / 4, 2 / 3]).sqrt()  # of 0, 1, 2, 3 and of 0, 1, 2
    return (z[0, 126:].flatten(1) * deviations[:, None] + torch.tensor([[1.5], [1.0]])).round().long()


def test_its_vectors_are_orthonormal_and_scaled_to_about_unit_variance(transform):
    vectors = transform.basis.flatten(1)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors)), rtol=0, atol=1e-5)
    latents = transform.choose(transform.analyse(clip_of(1)))
    assert 0.3 < latents.transpose(0, 1).flatten(1).square().mean(1).sqrt().median() < 3


def test_the_sets_are_those_that_weights_were_trained_with():
    """Any other order, or another choice between frequencies that are equally common, makes shipped weights useless."""
    sets = frequency_sets()
    assert [len(set(chosen)) for chosen in sets] == [126] * 12
    text = ";".join("".join(f"{c},{t},{v},{u} " for c, t, v, u in chosen) for chosen in sets)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "0d4cb22640a705da"


def test_common_frequencies_have_one_channel():
    plain = frequency_sets()[1]
    for chosen in frequency_sets():
        assert all(chosen.index(frequency) == plain.index(frequency) for frequency in set(chosen) & set(plain))


def test_every_block_gets_the_set_that_leaves_the_smallest_error(transform):
    x = clip_of(2)
    coefficients = transform.analyse(x)
    chosen = transform.synthesise(transform.spread(transform.choose(coefficients)))
    errors = []
    for indices in transform.sets:
        kept = torch.zeros_like(coefficients).index_copy(1, indices, coefficients[:, indices])
        errors.append(block_errors(transform.synthesise(kept), x))
    best = torch.stack(errors).amin(0)
    assert (block_errors(chosen, x) <= best + (0.101 / 127.5) ** 2).all()  # what the plain set is preferred by


def block_errors(y: Tensor, x: Tensor) -> Tensor:
    """The mean squared error of each block, (t, h, w)."""
    blocks = (y - x).square()[0].unflatten(3, (-1, 32)).unflatten(2, (-1, 32)).unflatten(1, (-1, 4))
    return blocks.mean((0, 2, 4, 6))


def test_latents_are_the_coefficients_of_their_set_and_come_back(transform):
    coefficients = transform.analyse(clip_of(2))
    z = transform.choose(coefficients)
    spread = transform.spread(z)
    assert torch.equal(spread[spread != 0], coefficients[spread != 0])
    assert (spread != 0).sum(1).max() == 126
    torch.testing.assert_close(transform.choose(spread), z, rtol=0, atol=1e-6)


def test_a_still_block_keeps_no_changes_and_a_fast_one_many(transform):
    still, fast = (sets_of(transform.choose(transform.analyse(clip_of(move))))[0] for move in (0, 12))
    assert (still == 0).all()
    assert fast.float().mean() > 1


def test_stripes_get_the_frequencies_across_them(transform):
    waves = torch.sin(torch.arange(64) * 2.2)
    across, down = waves.expand(1, 3, 4, 64, 64), waves[:, None].expand(1, 3, 4, 64, 64)
    assert (sets_of(transform.choose(transform.analyse(across)))[1] == 2).all()
    assert (sets_of(transform.choose(transform.analyse(down)))[1] == 0).all()


def test_brightness_does_not_matter(transform):
    coefficients = transform.analyse(0.5 * clip_of(2))
    brighter = transform.analyse(0.5 * clip_of(2) + 0.4)
    assert torch.equal(sets_of(transform.choose(coefficients)), sets_of(transform.choose(brighter)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_choice_is_made_in_full_precision(transform, dtype):
    coefficients = transform.analyse(clip_of(2)).to(dtype)
    assert torch.equal(sets_of(transform.choose(coefficients).float()), sets_of(transform.choose(coefficients.float())))


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_a_flat_block_is_plain(transform, level):
    z = transform.choose(transform.analyse(torch.full((1, 3, 4, 32, 32), level)))
    assert sets_of(z).flatten().tolist() == [0, 1]


def test_latents_that_are_a_little_off_still_say_their_set(transform):
    z = transform.choose(transform.analyse(clip_of(12)))
    noisy = z.clone()
    noisy[:, 126:] += 0.4 * torch.randn(noisy[:, 126:].shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert torch.equal(sets_of(noisy), sets_of(z))
    assert torch.equal(transform.spread(noisy), transform.spread(z))
    far = z.clone()
    far[:, 126:] = 100.0
    assert transform.spread(far).transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist() == sorted(
        transform.sets[-1].tolist()
    )
