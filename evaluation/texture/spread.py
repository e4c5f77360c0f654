"""Measures of a sample that intensities and grey levels share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.texture.feature import ratio

SPREAD_MEASURES = ("mean", "variance", "skewness", "kurtosis", "median", "minimum", "percentile_10", "percentile_90",
                   "maximum", "interquartile_range", "range", "mean_absolute_deviation",
                   "robust_mean_absolute_deviation", "median_absolute_deviation", "coefficient_of_variation",
                   "quartile_coefficient_of_dispersion")


def measures_of_spread(sample: NDArray[np.number]) -> dict[str, float]:
    """Return the measures of :data:`SPREAD_MEASURES` (IBSI manual, sections 3.3 and 3.4).

    Percentiles are interpolated linearly between ranks. Variances are over n. Skewness and kurtosis of a constant
    sample are NaN: IBSI sets them to 0, which would read as the finding of a symmetric distribution.

    Parameters
    ----------
    sample : ndarray, shape (voxels,)
        At least one value.
    """
    values = np.asarray(sample, dtype=np.float64)
    mean = float(values.mean())
    centred = values - mean
    squares = centred**2
    variance = float(squares.mean())
    p10, p25, median, p75, p90 = (float(one) for one in np.percentile(values, [10, 25, 50, 75, 90]))
    low, high = float(values.min()), float(values.max())
    inner = values[(values >= p10) & (values <= p90)]
    constant = low == high
    return {
        "mean": mean, "variance": variance,
        "skewness": math.nan if constant else float((squares * centred).mean()) / variance**1.5,
        "kurtosis": math.nan if constant else float((squares**2).mean()) / variance**2 - 3,
        "median": median, "minimum": low, "percentile_10": p10, "percentile_90": p90, "maximum": high,
        "interquartile_range": p75 - p25, "range": high - low,
        "mean_absolute_deviation": float(np.abs(centred).mean()),
        "robust_mean_absolute_deviation": float(np.abs(inner - inner.mean()).mean()) if inner.size else math.nan,
        "median_absolute_deviation": float(np.abs(values - median).mean()),
        "coefficient_of_variation": ratio(math.sqrt(variance), mean),
        "quartile_coefficient_of_dispersion": ratio(p75 - p25, p75 + p25)}
