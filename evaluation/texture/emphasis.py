"""The 16 features that run length and size zone matrices share: levels on one axis, extents on the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def emphasis_features(levels: NDArray[np.integer], extents: NDArray[np.integer], voxels: int) -> list[float]:
    """Return the 16 features of runs or zones (IBSI manual, sections 3.7 and 3.8), in IBSI's order.

    The matrix itself is never made: a zone may have as many voxels as the region, so that its axis would be long and
    nearly empty.

    Parameters
    ----------
    levels, extents : ndarray, shape (runs or zones,)
        Grey level, and length or size, of each; at least one.
    voxels : int
        Number of voxels that they were counted from, once for each direction.
    """
    size_axis = int(extents.max()) + 1
    cells, counts = np.unique(levels.astype(np.int64) * size_axis + extents, return_counts=True)
    i, j = (one.astype(np.float64) for one in np.divmod(cells, size_axis))
    total = float(counts.sum())
    p = counts / total
    of_levels, of_extents = np.bincount(levels), np.unique(extents, return_counts=True)[1]
    level_squares, extent_squares = (float((one.astype(np.float64) ** 2).sum()) for one in (of_levels, of_extents))
    i2, j2 = i**2, j**2
    mean_level, mean_extent = (p * i).sum(), (p * j).sum()
    values = [
        (p / j2).sum(), (p * j2).sum(), (p / i2).sum(), (p * i2).sum(),
        (p / (i2 * j2)).sum(), (p * i2 / j2).sum(), (p * j2 / i2).sum(), (p * i2 * j2).sum(),
        level_squares / total, level_squares / total**2, extent_squares / total, extent_squares / total**2,
        total / voxels, (p * (i - mean_level) ** 2).sum(), (p * (j - mean_extent) ** 2).sum(),
        -(p * np.log2(p)).sum()]
    return [float(value) for value in values]
