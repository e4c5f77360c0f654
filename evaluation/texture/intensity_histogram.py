"""Intensity histogram features (IBSI manual, section 3.4, ZVCW), over the volume (DHQ4)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.texture.feature import FeatureValues, catalogue
from femur_nnunet.evaluation.texture.spread import measures_of_spread

FAMILY = "intensity_histogram"
# The codes of the two percentiles are those of the manual; its web edition of 2021 prints two others by mistake.
_CODES = {
    "mean_discretised_intensity": "X6K6", "discretised_intensity_variance": "CH89",
    "discretised_intensity_skewness": "88K1", "excess_discretised_intensity_kurtosis": "C3I7",
    "median_discretised_intensity": "WIFQ", "minimum_discretised_intensity": "1PR8",
    "discretised_intensity_percentile_10": "GPMT", "discretised_intensity_percentile_90": "OZ0C",
    "maximum_discretised_intensity": "3NCY", "discretised_intensity_interquartile_range": "WR0O",
    "discretised_intensity_range": "5Z3W", "intensity_histogram_mean_absolute_deviation": "D2ZX",
    "intensity_histogram_robust_mean_absolute_deviation": "WRZB",
    "intensity_histogram_median_absolute_deviation": "4RNL", "intensity_histogram_coefficient_of_variation": "CWYJ",
    "intensity_histogram_quartile_coefficient_of_dispersion": "SLWD", "intensity_histogram_mode": "AMMC",
    "discretised_intensity_entropy": "TLU2", "discretised_intensity_uniformity": "BJ5W",
    "maximum_histogram_gradient": "12CE", "maximum_histogram_gradient_intensity": "8E6O",
    "minimum_histogram_gradient": "VQB3", "minimum_histogram_gradient_intensity": "RHQZ"}
FEATURES = catalogue(FAMILY, _CODES)


def intensity_histogram(levels: NDArray[np.integer]) -> FeatureValues:
    """Return the 23 features of the grey levels of a region.

    The gradients compare neighbouring grey levels: with the highest level at 1 there is none, and they are NaN.

    Parameters
    ----------
    levels : ndarray of integer, shape (voxels,)
        Grey levels, 1 and up, at least one voxel.
    """
    counts = np.bincount(levels)[1:]
    grey_levels = np.arange(1, counts.size + 1)
    spread = measures_of_spread(levels)
    probabilities = counts[counts > 0] / levels.size
    values = [*spread.values(), _mode(counts, spread["mean"]), float(-(probabilities * np.log2(probabilities)).sum()),
              float((probabilities**2).sum()), *_gradients(counts, grey_levels)]
    return dict(zip(_CODES, values, strict=True))


def _mode(counts: NDArray[np.integer], mean: float) -> float:
    """Return the most frequent level; of several the one nearest to the mean, of two equally near ones the lower."""
    highest = np.flatnonzero(counts == counts.max()) + 1
    return float(highest[np.abs(highest - mean).argmin()])


def _gradients(counts: NDArray[np.integer], grey_levels: NDArray[np.integer]) -> list[float]:
    if counts.size < 2:
        return [math.nan] * 4
    slopes = np.gradient(counts.astype(np.float64))
    found: list[float] = []
    for index in (int(slopes.argmax()), int(slopes.argmin())):
        found += [float(slopes[index]), float(grey_levels[index])]
    return found
