"""Grey level co-occurrence matrix, GLCM (IBSI manual, section 3.6, LFYI): symmetric, distance 1, 3D."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.texture.directions import Aggregation, LevelField
from femur_nnunet.evaluation.texture.feature import FeatureValues, catalogue, ratio

FAMILY = "glcm"
_CODES = {
    "joint_maximum": "GYBY", "joint_average": "60VM", "joint_variance": "UR99", "joint_entropy": "TU9B",
    "difference_average": "TF7R", "difference_variance": "D3YU", "difference_entropy": "NTRS", "sum_average": "ZGXS",
    "sum_variance": "OEEB", "sum_entropy": "P6QZ", "angular_second_moment": "8ZQL", "contrast": "ACUI",
    "dissimilarity": "8S9J", "inverse_difference": "IB1Z", "normalised_inverse_difference": "NDRX",
    "inverse_difference_moment": "WF0Z", "normalised_inverse_difference_moment": "1QCO", "inverse_variance": "E8JP",
    "correlation": "NI2N", "autocorrelation": "QWB0", "cluster_tendency": "DG8W", "cluster_shade": "7NFM",
    "cluster_prominence": "AE86", "information_correlation_1": "R8DG", "information_correlation_2": "JN9H"}
FEATURES = catalogue(FAMILY, _CODES)
FloatArray = NDArray[np.float64]


def glcm(field: LevelField, aggregation: Aggregation = Aggregation.MERGED) -> FeatureValues:
    """Return the 25 features of a region; NaN where no two of its voxels are neighbours."""
    levels = np.unique(field.flat[field.voxels]).astype(np.int64)
    matrices = [matrix for matrix in _matrices(field, levels) if matrix.any()]
    if not matrices:
        return dict.fromkeys(_CODES, math.nan)
    if aggregation is Aggregation.MERGED:
        matrices = [np.sum(matrices, axis=0)]
    means = np.mean([_features(matrix, levels) for matrix in matrices], axis=0)
    return dict(zip(_CODES, (float(mean) for mean in means), strict=True))


def _matrices(field: LevelField, levels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the symmetric matrix of each direction; only levels that occur have a row."""
    size = levels.size
    row_of_level = np.zeros(int(levels[-1]) + 1, dtype=np.int64)
    row_of_level[levels] = np.arange(size)
    matrices = []
    for first, second in field.neighbour_pairs():
        cells = row_of_level[first] * size + row_of_level[second]
        matrix = np.bincount(cells, minlength=size * size).reshape(size, size)
        matrices.append(matrix + matrix.T)
    return matrices


def _features(matrix: NDArray[np.int64], levels: NDArray[np.int64]) -> list[float]:
    p = matrix / matrix.sum()
    i = levels[:, None].astype(np.float64)
    j = levels[None, :].astype(np.float64)
    grey_levels = float(levels[-1])
    marginal = p.sum(axis=0)
    mean = float((marginal * levels).sum())
    variance = float((marginal * (levels - mean) ** 2).sum())
    apart = _summed(np.abs(levels[:, None] - levels[None, :]), p)
    together = _summed(levels[:, None] + levels[None, :], p)
    k, total = np.arange(apart.size), np.arange(together.size)
    difference = float((k * apart).sum())
    sum_average = float((total * together).sum())
    sum_variance = float((together * (total - sum_average) ** 2).sum())
    autocorrelation = float((i * j * p).sum())
    joint_entropy = _entropy(p)
    return [
        float(p.max()), mean, variance, joint_entropy,
        difference, float((apart * (k - difference) ** 2).sum()), _entropy(apart),
        sum_average, sum_variance, _entropy(together),
        float((p**2).sum()), float((apart * k**2).sum()), difference,
        float((apart / (1 + k)).sum()), float((apart / (1 + k / grey_levels)).sum()),
        float((apart / (1 + k**2)).sum()), float((apart / (1 + (k / grey_levels) ** 2)).sum()),
        float((apart[1:] / k[1:] ** 2).sum()),
        ratio(float(((i - mean) * (j - mean) * p).sum()), variance), autocorrelation,
        sum_variance, float((together * (total - sum_average) ** 3).sum()),
        float((together * (total - sum_average) ** 4).sum()),
        *_information_correlations(p, marginal, joint_entropy)]


def _summed(keys: NDArray[np.int64], p: FloatArray) -> FloatArray:
    """Return the sum of probabilities for each key from 0 on."""
    return np.asarray(np.bincount(keys.ravel(), weights=p.ravel()), dtype=np.float64)


def _information_correlations(p: FloatArray, marginal: FloatArray, joint_entropy: float) -> tuple[float, float]:
    """Return the two measures; the matrix is symmetric, so that one marginal serves for both."""
    independent = marginal[:, None] * marginal[None, :]
    occurs = p > 0
    cross_entropy = float(-(p[occurs] * np.log2(independent[occurs])).sum())
    # Rounding can leave the entropy of independent levels below the joint one.
    excess = max(_entropy(independent) - joint_entropy, 0.0)
    return ratio(joint_entropy - cross_entropy, _entropy(marginal)), math.sqrt(1 - math.exp(-2 * excess))


def _entropy(probabilities: FloatArray) -> float:
    known = probabilities[probabilities > 0]
    return float(-(known * np.log2(known)).sum())
