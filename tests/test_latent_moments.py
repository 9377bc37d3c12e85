"""Running moments of latents against a direct computation, and the file beside the weights."""

import json
import math

import pytest
import torch
from torch import Tensor

from workbench.errors import ShapeError, WeightsError
from workbench.models.latent_moments import (
    LatentMoments,
    LatentStatistics,
    find_statistics,
    read_statistics,
    statistics_path,
)


@pytest.fixture(scope="module")
def latents() -> list[Tensor]:
    """Clips of several sizes, of 3 channels; the mean of the last is a million times its deviation."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 3, 2, 4, 5), (2, 3, 1, 1, 1), (1, 3, 7, 3, 2)]
    offsets = torch.tensor([0.0, -3.0, 1e6], dtype=torch.float64).view(3, 1, 1, 1)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) + offsets for shape in shapes]


def gathered(parts: list[Tensor]) -> LatentMoments:
    moments = LatentMoments(3)
    for part in parts:
        moments.update(part)
    return moments


def test_moments_are_those_of_all_values_at_once(latents):
    values = torch.cat([part.transpose(0, 1).flatten(1) for part in latents], dim=1)
    found = gathered(latents)
    assert found.count == values.shape[1]
    torch.testing.assert_close(found.mean, values.mean(1), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found.std, values.std(1, correction=0), rtol=1e-9, atol=0)


def test_merging_parts_equals_going_on_and_empty_parts_change_nothing(latents):
    merged = LatentMoments(3)
    for part in ([latents[0]], [], latents[1:]):
        merged.merge(gathered(part))
    whole = gathered(latents)
    assert merged.count == whole.count
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(merged.std, whole.std, rtol=1e-9, atol=0)


def test_without_a_value_there_is_no_deviation_and_without_ranks_only_the_own_part(latents):
    assert LatentMoments(2).std.isnan().all()
    own = gathered(latents)
    assert torch.equal(own.over_ranks().squares, own.squares)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1, 1), (3, 2, 2, 2), (1, 3, 0, 2, 2)])
def test_latents_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"\(B, 3, t, h, w\)"):
        LatentMoments(3).update(torch.zeros(shape))


def test_statistics_come_back_from_their_file_exactly(latents, tmp_path):
    facts = {"model": "dct", "architecture": {"channels": 3}, "policy": {"resolution": "256"}}
    statistics = LatentStatistics.of(gathered(latents), **facts)
    statistics.save(tmp_path / "latent_stats.json")
    assert read_statistics(tmp_path / "latent_stats.json") == statistics


def test_statistics_lie_beside_the_weights(tmp_path):
    folder = tmp_path / "step-000100"
    folder.mkdir()
    assert statistics_path(folder) == folder / "latent_stats.json"
    assert statistics_path(folder / "ema.safetensors") == folder / "latent_stats.json"
    assert statistics_path(tmp_path / "F32T4C128_AE.safetensors") == tmp_path / "F32T4C128_AE.stats.json"


def test_a_training_checkpoint_gives_the_statistics_of_its_averaged_weights(tmp_path):
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"step": 9, "latents": {"step": 8, "mean": [1.0, 2.0], "std": [3.0, 4.0]}}))
    expected = LatentStatistics((1.0, 2.0), (3.0, 4.0), policy={"validated_at_step": 8})
    assert find_statistics(tmp_path) == find_statistics(tmp_path / "ema.safetensors") == expected
    assert find_statistics(tmp_path / "model.safetensors") is None
    own = LatentStatistics((0.0,), (1.0,), 5)
    own.save(tmp_path / "latent_stats.json")
    assert find_statistics(tmp_path) == own


def test_a_checkpoint_before_its_first_validation_has_none(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"step": 1, "latents": {}}))
    assert find_statistics(tmp_path) is None
    assert find_statistics(tmp_path / "alone.safetensors") is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"mean": [1.0]}', '{"mean": [1.0], "std": [1.0, 2.0]}', '{"mean": ["x"], "std": [1.0]}']
    + [json.dumps({"mean": [math.nan], "std": [1.0]}), '{"mean": [1.0], "std": [1.0], "other": 1}'],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "latent_stats.json").write_text(content)
    with pytest.raises(WeightsError, match=r"latent_stats.json: cannot be read as latent statistics"):
        find_statistics(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"latents": [1]}', '{"latents": {"step": 1, "mean": [1.0]}}'])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(WeightsError, match=r"state.json: what it says of the latents is damaged"):
        find_statistics(tmp_path)
