"""Spreads, intervals and differences against theory and values known beforehand."""

import math

import numpy as np
import pytest
from scipy import stats

from workbench.metrics.statistics import difference, interval_of_mean, resampled_deviation, spread


def test_the_interval_is_that_of_theory_on_many_values():
    values = np.random.default_rng(1).normal(30, 2, 400)
    low, high = interval_of_mean(values)
    expected = stats.norm.interval(0.95, values.mean(), values.std() / math.sqrt(len(values)))
    assert (low, high) == pytest.approx(expected, abs=0.02)


def test_the_interval_is_that_of_scipys_bootstrap_on_few():
    values = np.array([25.0, 31, 28, 40, 22, 29, 33])
    expected = stats.bootstrap((values,), np.mean, method="percentile", random_state=3).confidence_interval
    assert interval_of_mean(values) == pytest.approx((expected.low, expected.high), abs=0.2)
    assert interval_of_mean(values) == interval_of_mean(values)


def test_two_clips_and_undefined_values_have_no_interval():
    assert interval_of_mean([1.0, 2.0]) is None
    assert interval_of_mean([1.0, 2.0, math.inf]) is None


def test_a_spread_names_the_worse_end():
    values = [*map(float, range(101)), math.nan]
    higher, lower = spread(values, True, with_interval=True), spread(values, False)
    assert (higher.mean, higher.median, higher.low, higher.worst) == (50, 50, 5, 0)
    assert (lower.low, lower.worst, lower.interval) == (95, 100, None)
    assert higher.interval[0] < 50 < higher.interval[1]
    assert spread([math.nan], True) is None


def test_better_is_said_only_where_the_interval_leaves_out_zero():
    """Clips differ far more than the models do: only pairs tell."""
    clips = np.random.default_rng(0).normal(30, 5, 20)
    a, b = dict(enumerate(clips + 0.5)), dict(enumerate(clips))
    noise = dict(enumerate(clips + np.random.default_rng(2).normal(0, 1, 20)))
    found = difference("psnr", True, ("a", a), ("b", b))
    assert found.better
    assert found.mean == pytest.approx(0.5)
    assert not difference("psnr", True, ("b", b), ("a", a)).better
    assert difference("lpips", False, ("b", b), ("a", a)).better
    assert not difference("psnr", True, ("noise", noise), ("b", b)).better
    assert not difference("psnr", True, ("b", b), ("noise", noise)).better
    few = difference("psnr", True, ("a", {0: 2.0, 1: 3.0}), ("b", {0: 1.0, 1: 1.0}))
    assert few.interval is None
    assert not few.better
    assert difference("psnr", True, ("a", {0: 1.0}), ("b", {1: 1.0})) is None


def test_a_deviation_over_resampled_clips_is_that_of_theory():
    values = np.random.default_rng(1).normal(0, 1, 100)
    found = resampled_deviation(100, lambda drawn: values[drawn].mean(), 500)
    assert found == pytest.approx(values.std() / 10, rel=0.15)
    assert resampled_deviation(2, lambda drawn: 0.0) is None
