"""Linear interpolation to voxels of equal sides, on a grid that depends on the scan alone, not on the mask.

The new grid is centred on the old one and has as many voxels as cover it (IBSI manual, section 2.4), so that reference
and prediction of a scan are sampled at the same places. Only the box around a mask is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SAME_MM = 1e-6
_ROUNDING = 1e-9
Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class AxisSampling:
    """Where the new voxels of one axis lie among the old ones.

    Attributes
    ----------
    lower, upper : ndarray of int
        Shape (new voxels,); the old voxels on either side of each new one.
    weight : ndarray
        Shape (new voxels,); share of the upper one.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: FloatArray


def isotropic_box(shape_zyx: tuple[int, ...], spacing_mm_zyx: tuple[float, ...], new_spacing_mm: float,
                  bounds: Bounds) -> tuple[AxisSampling, AxisSampling, AxisSampling]:
    """Return the sampling of those new voxels that a mask within bounds can reach.

    Parameters
    ----------
    shape_zyx, spacing_mm_zyx : tuple
        Of the scan.
    new_spacing_mm : float
        Side of the new voxels.
    bounds : tuple of (first, last)
        First and last slice, row and column of the mask.
    """
    z, y, x = (_axis(*one, new_spacing_mm) for one in zip(shape_zyx, spacing_mm_zyx, bounds, strict=True))
    return z, y, x


def interpolate(values_zyx: NDArray[np.generic], axes: tuple[AxisSampling, AxisSampling, AxisSampling]) -> FloatArray:
    """Return the values (z, y, x) at the new voxels, by trilinear interpolation, one axis after the other.

    Beyond the outermost voxel centres the nearest value holds.
    """
    starts = [int(axis.lower.min()) for axis in axes]
    box = tuple(slice(start, int(axis.upper.max()) + 1) for start, axis in zip(starts, axes, strict=True))
    result = values_zyx[box].astype(np.float64)
    for number, (axis, start) in enumerate(zip(axes, starts, strict=True)):
        weight = axis.weight.reshape([-1 if place == number else 1 for place in range(3)])
        # Infinity becomes NaN beside a weight of 0; both are looked for where it matters, inside the mask.
        with np.errstate(invalid="ignore"):
            result = (result.take(axis.lower - start, axis=number) * (1 - weight)
                      + result.take(axis.upper - start, axis=number) * weight)
    return result


def bounds_of(mask_zyx: NDArray[np.bool_]) -> Bounds:
    """Return first and last slice, row and column of a mask with at least one voxel."""
    z, y, x = (np.flatnonzero(mask_zyx.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return (int(z[0]), int(z[-1])), (int(y[0]), int(y[-1])), (int(x[0]), int(x[-1]))


def _axis(size: int, spacing_mm: float, bounds: tuple[int, int], new_spacing_mm: float) -> AxisSampling:
    step = 1.0 if abs(spacing_mm - new_spacing_mm) < _SAME_MM else new_spacing_mm / spacing_mm
    new_size = math.ceil(size / step - _ROUNDING)
    places = (size - 1) / 2 + (np.arange(new_size) - (new_size - 1) / 2) * step
    # A mask of one slice is felt up to the next slice on either side.
    places = places[(places > bounds[0] - 1 - step) & (places < bounds[1] + 1 + step)].clip(0, size - 1)
    # A place that only rounding puts beside a voxel centre lies on it.
    places = np.where(np.abs(places - np.rint(places)) < _ROUNDING, np.rint(places), places)
    lower = np.floor(places).astype(np.intp)
    return AxisSampling(lower, np.minimum(lower + 1, size - 1), places - lower)
