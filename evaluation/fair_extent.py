"""The common distal level of two masks: the length of shaft in an image is a choice, not anatomy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_REFERENCE_TRIM_MM = 20.0
"""No more than this is cut off the reference: a prediction without a shaft has failed, it is not shorter."""


def common_distal_level(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], slice_spacing_mm: float) -> int:
    """Return the lowest slice that both masks reach.

    The level is the higher of the two lowest slices, at most 20 mm above the reference's lowest and
    never above its highest: what a prediction lacks beyond that counts as error.

    Parameters
    ----------
    reference, prediction : ndarray of bool, shape (z, y, x)
        Masks on one grid, z to Superior, neither empty.
    slice_spacing_mm : float
        Distance of slices.
    """
    reference_low, reference_high = _extent(reference)
    prediction_low, _ = _extent(prediction)
    limit = reference_low + int(MAX_REFERENCE_TRIM_MM / slice_spacing_mm + 1e-6)
    return min(max(reference_low, prediction_low), limit, reference_high)


def distal_trim_mm(mask: NDArray[np.bool_], level: int, slice_spacing_mm: float) -> float:
    """Return how far a mask (z, y, x), not empty, reaches below a level."""
    return max(level - _extent(mask)[0], 0) * slice_spacing_mm


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(used[0]), int(used[-1])
