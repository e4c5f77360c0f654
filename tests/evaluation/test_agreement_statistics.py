from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from femur_nnunet.evaluation.agreement_statistics import (
    coefficient_of_determination,
    concordance,
    equivalence_p,
    intraclass_correlations,
    limits_of_agreement,
    pearson,
    regression_line,
    resampled_agreement,
    standard_error_of_estimate,
)
from femur_nnunet.evaluation.bootstrap import resample_counts, seeded

# Peak expiratory flow by two meters, first readings (Bland & Altman, Lancet 1986, table 1).
LARGE_METER = np.asarray([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427.0])
MINI_METER = np.asarray([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451.0])
# Six targets by four judges (Shrout & Fleiss, Psychol Bull 1979, table 2).
JUDGES = np.asarray([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])


def test_limits_of_agreement_are_those_that_bland_and_altman_published():
    limits = limits_of_agreement(MINI_METER, LARGE_METER)
    assert limits.bias.value == pytest.approx(-2.1, abs=0.05)
    # They round 1.96 to 2 and publish -79.7 and 75.5, with s = 38.8.
    for limit, published in ((limits.low, -79.7), (limits.high, 75.5)):
        half_width = (limit.value - limits.bias.value) * 2 / 1.96
        assert limits.bias.value + half_width == pytest.approx(published, abs=0.1)
    assert limits.bias.ci95_low == pytest.approx(-22.0, abs=0.1)
    assert limits.bias.ci95_high == pytest.approx(17.8, abs=0.1)
    # Published half widths: 34.6 around each limit, with the standard error rounded to sqrt(3 s^2 / n).
    assert limits.low.ci95_high - limits.low.value == pytest.approx(34.6, abs=0.4)


def test_intraclass_correlations_are_those_that_shrout_and_fleiss_published():
    agreement, consistency = intraclass_correlations(JUDGES)
    assert agreement.value == pytest.approx(0.29, abs=0.005)
    assert consistency.value == pytest.approx(0.71, abs=0.005)
    # Intervals for the same table as the R package psych prints them: 0.019 to 0.76 and 0.34 to 0.95.
    assert agreement.ci95_low == pytest.approx(0.019, abs=0.001)
    assert agreement.ci95_high == pytest.approx(0.76, abs=0.005)
    assert consistency.ci95_low == pytest.approx(0.34, abs=0.005)
    assert consistency.ci95_high == pytest.approx(0.95, abs=0.005)


def test_a_constant_bias_lowers_absolute_agreement_but_not_consistency():
    reference = np.asarray([100.0, 120, 140, 160, 180])
    agreement, consistency = intraclass_correlations(np.stack([reference, reference + 30], axis=1))
    assert consistency.value == pytest.approx(1)
    assert agreement.value < 0.75


def test_the_regression_line_is_that_of_statsmodels():
    slope, intercept = regression_line(MINI_METER, LARGE_METER)
    fit = sm.OLS(LARGE_METER, sm.add_constant(MINI_METER)).fit()
    intervals = fit.conf_int()
    assert (intercept.value, slope.value) == pytest.approx(tuple(fit.params))
    assert (intercept.ci95_low, intercept.ci95_high) == pytest.approx(tuple(intervals[0]))
    assert (slope.ci95_low, slope.ci95_high) == pytest.approx(tuple(intervals[1]))


def test_pearson_and_its_interval_are_those_of_scipy():
    r, p_value = pearson(MINI_METER, LARGE_METER)
    expected = stats.pearsonr(MINI_METER, LARGE_METER)
    interval = expected.confidence_interval()
    assert (r.value, p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (r.ci95_low, r.ci95_high) == pytest.approx((interval.low, interval.high))
    # Published: r = 0.94.
    assert r.value == pytest.approx(0.94, abs=0.005)


def test_r2_is_about_the_identity_so_that_a_bias_lowers_it():
    reference = np.asarray([1.0, 2.0, 3.0, 4.0])
    options = {"resamples": 100, "rng": seeded(0)}
    # SST = 5; a shift of 0.5 gives SSE = 4 * 0.25 = 1.
    assert coefficient_of_determination(reference, reference + 0.5, **options).value == pytest.approx(0.8)
    assert coefficient_of_determination(reference, reference, **options).value == 1
    assert coefficient_of_determination(reference, reference + 10, **options).value < 0


def test_concordance_is_pearson_times_lins_bias_correction():
    r = stats.pearsonr(MINI_METER, LARGE_METER).statistic
    ratio = MINI_METER.std() / LARGE_METER.std()
    shift = (MINI_METER.mean() - LARGE_METER.mean()) / math.sqrt(MINI_METER.std() * LARGE_METER.std())
    correction = 2 / (ratio + 1 / ratio + shift**2)
    estimate = concordance(MINI_METER, LARGE_METER, resamples=2000, rng=seeded(0))
    assert estimate.value == pytest.approx(r * correction)
    assert estimate.ci95_low < estimate.value < estimate.ci95_high <= 1


@pytest.mark.parametrize("margin", [5.0, 25.0, 60.0])
def test_equivalence_is_that_of_statsmodels(margin):
    expected, _, _ = ttost_paired(LARGE_METER, MINI_METER, -margin, margin)
    assert equivalence_p(MINI_METER, LARGE_METER, margin) == pytest.approx(expected)


def test_equivalence_of_constant_differences_is_certain():
    values = np.asarray([1.0, 2.0, 4.0])
    assert equivalence_p(values, values + 1, 2.0) == 0
    assert equivalence_p(values, values + 1, 1.0) == 1
    assert math.isnan(equivalence_p(values, values, None))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_participants_give_nan_instead_of_a_crash(count):
    values = np.arange(float(count))
    limits_of_agreement(values, values + 1)
    assert math.isnan(regression_line(values, values)[0].value)
    assert math.isnan(pearson(values, values)[0].value)
    assert math.isnan(concordance(values, values, resamples=10, rng=seeded(0)).value) or count == 2
    intraclass_correlations(np.stack([values, values], axis=1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(50, 300), st.floats(50, 300)), min_size=3, max_size=12))
def test_agreement_stays_within_its_bounds(pairs):
    reference, measured = (np.asarray(side).round(3) for side in zip(*pairs, strict=True))
    r, _ = pearson(reference, measured)
    agreement, consistency = intraclass_correlations(np.stack([reference, measured], axis=1))
    ccc = concordance(reference, measured, resamples=5, rng=seeded(0)).value
    for value in (r.value, consistency.value, ccc):
        assert math.isnan(value) or -1 - 1e-6 <= value <= 1 + 1e-6
    # The estimate of absolute agreement has no lower bound when participants hardly differ.
    assert math.isnan(agreement.value) or agreement.value <= 1 + 1e-6
    if not math.isnan(ccc) and not math.isnan(r.value):
        assert abs(ccc) <= abs(r.value) + 1e-6


def test_the_standard_error_of_the_estimate_is_that_of_the_regression_line():
    reference, measured = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    # Slope 0.8, intercept 0.5: residuals -0.3, 0.9, -0.9, 0.3, whose squares sum to 1.8.
    assert standard_error_of_estimate(reference, measured) == pytest.approx(np.sqrt(1.8 / 2))
    assert standard_error_of_estimate(reference, 2 * reference + 5) == pytest.approx(0, abs=1e-9)
    assert np.isnan(standard_error_of_estimate(reference[:2], measured[:2]))
    assert np.isnan(standard_error_of_estimate(np.ones(4), measured))


def test_moments_of_many_resamples_give_the_same_r2_and_concordance_as_the_values_themselves():
    rng = np.random.default_rng(8)
    reference = rng.normal(5000, 40, 30)
    measured = reference + rng.normal(-6, 12, 30)
    r2, ccc = resampled_agreement(reference, measured, resample_counts(30, 4000, rng))
    for found, one_by_one in ((r2, coefficient_of_determination), (ccc, concordance)):
        expected = one_by_one(reference, measured, resamples=4000, rng=np.random.default_rng(9))
        assert found.value == pytest.approx(expected.value, rel=1e-9)
        # Two sets of 4,000 resamples: their percentiles differ by chance.
        assert found.ci95_low == pytest.approx(expected.ci95_low, abs=0.02)
        assert found.ci95_high == pytest.approx(expected.ci95_high, abs=0.02)


@pytest.mark.parametrize("reference", [[], [3.0], [3.0, 3.0, 3.0]])
def test_moments_of_resamples_without_spread_give_nothing(reference):
    values = np.asarray(reference)
    r2, ccc = resampled_agreement(values, values, resample_counts(values.size, 20, np.random.default_rng(0)))
    assert np.isnan([r2.value, r2.ci95_low, ccc.value, ccc.ci95_high]).all()
