from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from femur_nnunet.evaluation.bootstrap import (
    cliffs_delta,
    difference_interval,
    holm,
    mean_interval,
    paired_permutation_p,
    seeded,
    unpaired_permutation_p,
)

SHORT = st.lists(st.floats(-10, 10), min_size=2, max_size=6).map(lambda values: np.asarray(values).round(3))


def test_the_interval_of_a_mean_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(5).gamma(2.0, 1.5, size=40)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile",
                               random_state=np.random.default_rng(1)).confidence_interval
    low, high = mean_interval(values, 20_000, seeded(3, "x"))
    assert low == pytest.approx(expected.low, abs=0.03)
    assert high == pytest.approx(expected.high, abs=0.03)


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        low, high = mean_interval(rng.normal(3.0, 1.0, size=30), 500, rng)
        covered += low <= 3.0 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_the_interval_of_a_difference_has_its_sign_and_width():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 60), rng.normal(2, 1, 60)
    low, high = difference_interval(first, second, 4000, seeded(0, "d"))
    seen = second.mean() - first.mean()
    half_width = 1.96 * math.sqrt(first.var(ddof=1) / 60 + second.var(ddof=1) / 60)
    assert low == pytest.approx(seen - half_width, abs=0.06)
    assert high == pytest.approx(seen + half_width, abs=0.06)


def test_the_same_seed_gives_the_same_interval_and_another_name_another_one():
    values = np.random.default_rng(0).normal(size=20)
    one, again, other = (mean_interval(values, 200, seeded(7, name)) for name in ("a", "a", "b"))
    assert one == again != other


def test_one_participant_has_no_interval():
    assert all(math.isnan(end) for end in mean_interval(np.asarray([1.0]), 100, seeded(0)))
    assert all(math.isnan(end) for end in difference_interval(np.asarray([1.0]), np.arange(5.0), 100, seeded(0)))
    assert all(math.isnan(end) for end in mean_interval(np.arange(5.0), 0, seeded(0)))


def test_small_groups_are_permuted_exactly():
    # 3 + 3 values in order: of 20 arrangements only the one seen and its mirror image are as far apart.
    assert unpaired_permutation_p(np.asarray([1.0, 2, 3]), np.asarray([4.0, 5, 6]), seeded(0)) == pytest.approx(2 / 20)
    # Four pairs of one sign: of 16 sign patterns two have as large a mean.
    assert paired_permutation_p(np.asarray([0.1, 0.4, 0.2, 0.3]), seeded(0)) == pytest.approx(2 / 16)


def test_permutation_tests_agree_with_scipys():
    rng = np.random.default_rng(8)
    first, second = rng.normal(0, 1, 5), rng.normal(1, 1, 6)
    expected = stats.permutation_test((first, second), lambda a, b: abs(np.mean(a) - np.mean(b)),
                                      alternative="greater", n_resamples=np.inf).pvalue
    assert unpaired_permutation_p(first, second, seeded(0)) == pytest.approx(expected)
    expected = stats.permutation_test((first,), lambda a: abs(np.mean(a)), permutation_type="samples",
                                      alternative="greater", n_resamples=np.inf).pvalue
    assert paired_permutation_p(first, seeded(0)) == pytest.approx(expected)


def test_random_permutations_come_near_the_t_test_for_normal_values():
    rng = np.random.default_rng(21)
    first, second = rng.normal(0, 1, 40), rng.normal(0.5, 1, 40)
    assert unpaired_permutation_p(first, second, seeded(1)) == pytest.approx(
        stats.ttest_ind(first, second).pvalue, abs=0.01)
    assert paired_permutation_p(second - first, seeded(1)) == pytest.approx(
        stats.ttest_rel(second, first).pvalue, abs=0.01)


def test_equal_groups_have_a_p_of_one():
    assert unpaired_permutation_p(np.ones(4), np.ones(5), seeded(0)) == 1
    assert paired_permutation_p(np.zeros(5), seeded(0)) == 1
    assert math.isnan(unpaired_permutation_p(np.empty(0), np.ones(5), seeded(0)))
    assert math.isnan(paired_permutation_p(np.ones(1), seeded(0)))


def test_no_random_p_value_is_zero():
    first, second = np.arange(30.0), np.arange(30.0) + 1000
    assert unpaired_permutation_p(first, second, seeded(0)) == pytest.approx(1 / 10_000)


@settings(max_examples=60, deadline=None)
@given(SHORT, SHORT)
def test_cliffs_delta_follows_from_mann_whitneys_u(first, second):
    u = stats.mannwhitneyu(second, first).statistic
    assert cliffs_delta(first, second) == pytest.approx(2 * u / (first.size * second.size) - 1)
    assert cliffs_delta(second, first) == pytest.approx(-cliffs_delta(first, second))


def test_cliffs_delta_counts_pairs():
    assert cliffs_delta(np.asarray([1.0, 2, 3]), np.asarray([2.0, 4])) == pytest.approx((1 + 3 - 1) / 6)
    assert math.isnan(cliffs_delta(np.empty(0), np.ones(2)))


@pytest.mark.parametrize("p_values", [[0.5], [0.01, 0.02, 0.03], [0.04, 0.001, 0.04, 0.7], [0.0, 1.0, 0.2, 0.011, 0.2]])
def test_holm_agrees_with_statsmodels(p_values):
    np.testing.assert_allclose(holm(np.asarray(p_values)), multipletests(p_values, method="holm")[1])


def test_holm_leaves_unknown_p_values_out_of_the_family():
    np.testing.assert_allclose(holm(np.asarray([0.01, math.nan, 0.04])), [0.02, math.nan, 0.04])
