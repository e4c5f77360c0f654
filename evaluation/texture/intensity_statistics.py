"""Intensity-based statistics (IBSI manual, section 3.3, UHIW), over the volume (DHQ4)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.texture.feature import HU, HU_SQUARED, NONE, FeatureValues, catalogue
from femur_nnunet.evaluation.texture.spread import measures_of_spread

FAMILY = "intensity_statistics"
_CODES = {
    "mean_intensity": "Q4LE", "intensity_variance": "ECT3", "intensity_skewness": "KE2A",
    "excess_intensity_kurtosis": "IPH6", "median_intensity": "Y12H", "minimum_intensity": "1GSF",
    "intensity_percentile_10": "QG58", "intensity_percentile_90": "8DWT", "maximum_intensity": "84IY",
    "intensity_interquartile_range": "SALO", "intensity_range": "2OJQ",
    "intensity_based_mean_absolute_deviation": "4FUA", "intensity_based_robust_mean_absolute_deviation": "1128",
    "intensity_based_median_absolute_deviation": "N72L", "intensity_based_coefficient_of_variation": "7TET",
    "intensity_based_quartile_coefficient_of_dispersion": "9S40", "intensity_based_energy": "N8CA",
    "root_mean_square_intensity": "5ZWQ"}
_RATIOS = ("intensity_skewness", "excess_intensity_kurtosis", "intensity_based_coefficient_of_variation",
           "intensity_based_quartile_coefficient_of_dispersion")
_SQUARES = ("intensity_variance", "intensity_based_energy")
FEATURES = catalogue(FAMILY, _CODES, {name: NONE if name in _RATIOS else HU_SQUARED if name in _SQUARES else HU
                                      for name in _CODES})


def intensity_statistics(intensities_hu: NDArray[np.number]) -> FeatureValues:
    """Return the 18 features of the intensities of a region.

    Parameters
    ----------
    intensities_hu : ndarray, shape (voxels,)
        HU of the voxels of the intensity mask, at least one.
    """
    square_sum = float((np.asarray(intensities_hu, dtype=np.float64) ** 2).sum())
    values = [*measures_of_spread(intensities_hu).values(), square_sum, math.sqrt(square_sum / intensities_hu.size)]
    return dict(zip(_CODES, values, strict=True))
