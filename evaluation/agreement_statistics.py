"""Agreement of two measurements of the same participants: formulas alone, with their sources.

``reference`` and ``measured`` are arrays of one value a participant, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from femur_nnunet.evaluation.bootstrap import CONFIDENCE, bootstrap_interval, percentile_interval

FloatArray = NDArray[np.float64]
_NORMAL_975 = 1.959963984540054
_UPPER = 0.5 + CONFIDENCE / 2


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval; NaN where undefined."""

    value: float = math.nan
    ci95_low: float = math.nan
    ci95_high: float = math.nan


@dataclass(frozen=True)
class LimitsOfAgreement:
    """Bias and limits of agreement."""

    bias: Estimate
    low: Estimate
    high: Estimate


def limits_of_agreement(reference: FloatArray, measured: FloatArray) -> LimitsOfAgreement:
    """Return bias and 95 % limits of ``measured - reference`` (Bland & Altman 1986).

    Limits are ``bias +- 1.96 s``; their standard error is ``s sqrt(1/n + 1.96^2 / (2 (n - 1)))``
    (Bland & Altman 1999, section 2.1), intervals by Student's t. One value a participant in each array, in one order.
    """
    difference = measured - reference
    n = difference.size
    if n < 2:
        bias = Estimate(float(difference.mean()) if n else math.nan)
        return LimitsOfAgreement(bias, Estimate(), Estimate())
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(_UPPER, n - 1))
    around_bias = t * deviation / math.sqrt(n)
    around_limit = t * deviation * math.sqrt(1 / n + _NORMAL_975**2 / (2 * (n - 1)))
    low, high = mean - _NORMAL_975 * deviation, mean + _NORMAL_975 * deviation
    return LimitsOfAgreement(_around(mean, around_bias), _around(low, around_limit), _around(high, around_limit))


def regression_line(reference: FloatArray, measured: FloatArray) -> tuple[Estimate, Estimate]:
    """Return slope and intercept of the least-squares line of ``measured`` on ``reference``.

    One value a participant in each array, in one order.
    """
    n = reference.size
    spread = float(((reference - reference.mean()) ** 2).sum()) if n else 0.0
    if n < 3 or spread == 0:
        return Estimate(), Estimate()
    slope = float(((reference - reference.mean()) * (measured - measured.mean())).sum()) / spread
    intercept = float(measured.mean()) - slope * float(reference.mean())
    residual_variance = float(((measured - intercept - slope * reference) ** 2).sum()) / (n - 2)
    t = float(stats.t.ppf(_UPPER, n - 2))
    slope_error = math.sqrt(residual_variance / spread)
    intercept_error = math.sqrt(residual_variance * (1 / n + float(reference.mean()) ** 2 / spread))
    return _around(slope, t * slope_error), _around(intercept, t * intercept_error)


def standard_error_of_estimate(reference: FloatArray, measured: FloatArray) -> float:
    """Return ``sqrt(SSE / (n - 2))`` about the least-squares line of ``measured`` on ``reference``.

    One value a participant in each array, in one order. In the unit of the quantity; unlike R2 it
    does not grow with the spread of the participants. NaN with fewer than three participants or equal references.
    """
    slope, intercept = (one.value for one in regression_line(reference, measured))
    if not math.isfinite(slope):
        return math.nan
    return math.sqrt(float(((measured - intercept - slope * reference) ** 2).sum()) / (reference.size - 2))


def coefficient_of_determination(reference: FloatArray, measured: FloatArray, *, resamples: int,
                                 rng: np.random.Generator) -> Estimate:
    """Return ``R2 = 1 - SSE / SST`` about the line of identity.

    ``SSE`` sums the squares of ``measured - reference``, ``SST`` those of ``reference`` about its
    mean: a bias lowers it, which the square of Pearson's r hides. Bootstrap interval. One
    value a participant in each array, in one order.
    """
    return _resampled(reference, measured, _r2, resamples, rng)


def pearson(reference: FloatArray, measured: FloatArray) -> tuple[Estimate, float]:
    """Return Pearson's r, its interval by Fisher's z, and its two-sided p-value.

    One value a participant in each array, in one order.
    """
    n = reference.size
    if n < 3 or np.ptp(reference) == 0 or np.ptp(measured) == 0:
        return Estimate(), math.nan
    r, p_value = (float(value) for value in stats.pearsonr(reference, measured))
    if n < 4 or abs(r) >= 1:
        return Estimate(r), p_value
    half = _NORMAL_975 / math.sqrt(n - 3)
    return Estimate(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)), p_value


def concordance(reference: FloatArray, measured: FloatArray, *, resamples: int,
                rng: np.random.Generator) -> Estimate:
    """Return Lin's concordance correlation ``2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2)`` (Lin 1989).

    Variances and covariance are over n, as in the paper. Bootstrap interval. One value a
    participant in each array, in one order.
    """
    return _resampled(reference, measured, _ccc, resamples, rng)


def resampled_agreement(reference: FloatArray, measured: FloatArray,
                        draws: FloatArray) -> tuple[Estimate, Estimate]:
    """Return R2 about the line of identity and Lin's concordance, with bootstrap intervals.

    The same statistics as :func:`coefficient_of_determination` and :func:`concordance`, from one set of resamples and
    without an array of resampled values: a resample is how often each participant was drawn, and its moments are one
    product of matrices. For tables of thousands of rows.

    Parameters
    ----------
    reference, measured : ndarray, shape (participants,)
        One value a participant.
    draws : ndarray, shape (resamples, participants)
        How often each participant is in each resample (:func:`~femur_nnunet.evaluation.bootstrap.resample_counts`).
    """
    n = reference.size
    if n < 2:
        return Estimate(), Estimate()
    origin, scale = float(reference.mean()), float(np.abs(reference - reference.mean()).max()) or 1.0
    x, y = (reference - origin) / scale, (measured - origin) / scale
    moments = np.stack([x, y, x * x, y * y, x * y, (y - x) ** 2], axis=1)
    values = []
    for counts in (np.ones((1, n)), draws):
        mean_x, mean_y, x_x, y_y, x_y, error = (counts @ moments / n).T
        variance = _without_rounding(x_x - mean_x**2)
        values.append((_divided(variance - error, variance),
                       _divided(2 * (x_y - mean_x * mean_y),
                                variance + _without_rounding(y_y - mean_y**2) + (mean_x - mean_y) ** 2)))
    r2, ccc = (Estimate(float(one[0]), *percentile_interval(many)) for one, many in zip(*values, strict=True))
    return r2, ccc


def intraclass_correlations(ratings: FloatArray) -> tuple[Estimate, Estimate]:
    """Return ICC(2,1) and ICC(3,1) with their intervals (Shrout & Fleiss 1979).

    Parameters
    ----------
    ratings : ndarray, shape (participants, raters)
        One column a rater, here reference and prediction.

    Returns
    -------
    icc_2_1 : Estimate
        Absolute agreement, raters random (their equation 2, interval by Satterthwaite).
    icc_3_1 : Estimate
        Consistency, raters fixed: a constant bias is not counted (their equation 3).
    """
    n, k = ratings.shape
    if n < 2 or np.ptp(ratings) == 0:
        return Estimate(), Estimate()
    total = ratings.mean()
    between = k * float(((ratings.mean(axis=1) - total) ** 2).sum()) / (n - 1)
    judges = n * float(((ratings.mean(axis=0) - total) ** 2).sum()) / (k - 1)
    residual = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0, keepdims=True) + total
    error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    spread_2, spread_3 = between + (k - 1) * error + k * (judges - error) / n, between + (k - 1) * error
    # A perfect line of ratings leaves rounding errors alone in these sums.
    negligible = 1e-12 * (between + judges + error)
    if min(spread_2, spread_3) <= negligible:
        return Estimate(), Estimate()
    icc_2, icc_3 = (between - error) / spread_2, (between - error) / spread_3
    if error <= negligible:
        return Estimate(icc_2), Estimate(icc_3)

    ratio = between / error
    lower = ratio / stats.f.ppf(_UPPER, n - 1, (n - 1) * (k - 1))
    upper = ratio * stats.f.ppf(_UPPER, (n - 1) * (k - 1), n - 1)
    fixed = Estimate(icc_3, float((lower - 1) / (lower + k - 1)), float((upper - 1) / (upper + k - 1)))

    judge_ratio = judges / error
    weight = n * (1 + (k - 1) * icc_2) - k * icc_2
    freedom = ((k - 1) * (n - 1) * (k * icc_2 * judge_ratio + weight) ** 2
               / ((n - 1) * (k * icc_2 * judge_ratio) ** 2 + weight**2))
    rest = k * judges + (k * n - k - n) * error
    # With next to no degrees of freedom the F quantiles overflow: the interval is then unknown.
    with np.errstate(over="ignore", invalid="ignore"):
        f_lower, f_upper = stats.f.ppf(_UPPER, n - 1, freedom), stats.f.ppf(_UPPER, freedom, n - 1)
        low = float(n * (between - f_lower * error) / (f_lower * rest + n * between))
        high = float(n * (f_upper * between - error) / (rest + n * f_upper * between))
    return Estimate(icc_2, low, high), fixed


def equivalence_p(reference: FloatArray, measured: FloatArray, margin: float | None) -> float:
    """Return the p-value of two one-sided paired t-tests (TOST, Schuirmann 1987).

    Small where the mean difference lies inside ``+- margin``, which is in the unit of the quantity. One value a
    participant in each array, in one order. NaN without a margin or for fewer than two participants.
    """
    difference = measured - reference
    n = difference.size
    if margin is None or n < 2:
        return math.nan
    mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    above = float(stats.t.sf((mean + margin) / error, n - 1))
    below = float(stats.t.cdf((mean - margin) / error, n - 1))
    return max(above, below)


def _r2(reference: FloatArray, measured: FloatArray) -> FloatArray:
    errors = ((measured - reference) ** 2).sum(axis=-1)
    spread = ((reference - reference.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return _divided(spread - errors, spread)


def _ccc(reference: FloatArray, measured: FloatArray) -> FloatArray:
    means = reference.mean(axis=-1), measured.mean(axis=-1)
    covariance = (reference * measured).mean(axis=-1) - means[0] * means[1]
    spread = reference.var(axis=-1) + measured.var(axis=-1) + (means[0] - means[1]) ** 2
    return _divided(2 * covariance, spread)


def _without_rounding(variance: FloatArray) -> FloatArray:
    """Return variances of values of order 1, with those set to 0 that are nothing but rounding errors."""
    return np.where(variance > 1e-14, variance, 0.0)


def _divided(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    known = denominator > 0
    return np.where(known, numerator / np.where(known, denominator, 1.0), math.nan)


def _resampled(reference: FloatArray, measured: FloatArray,
               statistic: Callable[[FloatArray, FloatArray], FloatArray], resamples: int,
               rng: np.random.Generator) -> Estimate:
    if reference.size < 2:
        return Estimate()
    low, high = bootstrap_interval(lambda picked: statistic(reference[picked], measured[picked]), reference.size,
                                   resamples, rng)
    return Estimate(float(statistic(reference, measured)), low, high)


def _around(value: float, half_width: float) -> Estimate:
    return Estimate(value, value - half_width, value + half_width)
