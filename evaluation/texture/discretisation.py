"""From intensities to grey levels (IBSI manual, section 2.7): bins of one width, or of one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def levels_of_fixed_width(intensities: NDArray[np.number], bin_width: float, lowest: float) -> NDArray[np.int64]:
    """Return ``floor((X - lowest) / bin_width) + 1`` (fixed bin size, Q3RU).

    ``lowest`` is one number for all scans, so that a grey level is the same range of HU everywhere.

    Parameters
    ----------
    intensities : ndarray
        Any shape, which the levels keep; none below ``lowest``.
    bin_width, lowest : float
        In the unit of the intensities.
    """
    return np.floor((np.asarray(intensities, dtype=np.float64) - lowest) / bin_width).astype(np.int64) + 1


def levels_of_fixed_number(intensities: NDArray[np.number], bins: int) -> NDArray[np.int64]:
    """Return ``floor(bins (X - min) / (max - min)) + 1``, and ``bins`` for the maximum (fixed bin number, K15C).

    The levels have the same shape as the intensities. A constant region has one level, 1.
    """
    values = np.asarray(intensities, dtype=np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return np.ones(values.shape, dtype=np.int64)
    return np.minimum(np.floor(bins * (values - low) / (high - low)).astype(np.int64) + 1, bins)
