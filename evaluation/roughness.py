"""Surface roughness: how far a mask's surface departs from its own smooth form.

The idea is that of areal surface texture (ISO 25178): a fine filter takes off what the voxels
themselves put there, a form filter takes off the shape of the bone, and the root mean square of what
is left is the roughness ``Sq``. Both filters are Gaussian, applied to the mask as a whole, so that no
mesh is needed.

With ``h`` the height of the surface above its tangent plane and ``G_s`` the Gaussian of standard
deviation ``s``, the value at a surface point is ``h - 2 G_s h + G_(s sqrt 2) h = (1 - G_s)^2 h``. Planes
and all quadratic surfaces give zero, a sphere of radius R gives ``2 s^4 / R^3``, and a ripple of wave
number k passes with the factor ``(1 - exp(-s^2 k^2 / 2))^2``: at s = 3 mm, 0.99 at a wavelength of
6 mm, 0.69 at 10 mm, 0.13 at 20 mm. On a smoothed mask ``F`` the height above the smoothed surface is
``(1/2 - F) sigma sqrt(2 pi)`` to first order, ``sigma`` being the Gaussian's width along the normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from femur_nnunet.evaluation.overlap import bounding_box, grow_box

FORM_SCALE_MM = 3.0
"""Standard deviation of the form filter; ripples shorter than about 12 mm count as roughness."""
_FINE_SCALE_VOXELS = 1.0
_TRUNCATE = 3.5
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SurfaceDepartures:
    """Departures of a mask's surface from its own smooth form.

    Attributes
    ----------
    departures_mm : ndarray, shape (points,)
        Height above the form at the points where grid lines cross the surface, outward positive.
    slices : ndarray of int, shape (points,)
        Slice of the image in which each point lies.
    slice_spacing_mm : float
        Distance of slices.
    """

    departures_mm: NDArray[np.float64]
    slices: NDArray[np.intp]
    slice_spacing_mm: float

    def roughness_mm(self, lowest_slice: int | None = None) -> float:
        """Return the root mean square of the departures; NaN where no surface is left.

        With ``lowest_slice``, the surface below that slice is left out, and as much above it as a cut
        there would be felt (three times the form scale): the fair extent.
        """
        used = self.departures_mm
        if lowest_slice is not None:
            first = lowest_slice + int(np.ceil(3 * FORM_SCALE_MM / self.slice_spacing_mm))
            used = used[self.slices >= first]
        return float(np.sqrt(np.mean(used**2))) if used.size else float("nan")


def surface_departures(mask: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float]) -> SurfaceDepartures:
    """Return how far each point of a mask's surface departs from the mask's smooth form.

    The mask is thought to go on unchanged beyond the image's edge: where the image cuts the shaft
    there is no surface.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        The mask in its whole image.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres along each axis.
    """
    box = bounding_box(mask)
    if box is None:
        return SurfaceDepartures(np.empty(0), np.empty(0, dtype=np.intp), spacing_mm_zyx[0])
    spacing = np.asarray(spacing_mm_zyx, dtype=np.float64)
    reach_mm = _TRUNCATE * np.sqrt(2 * FORM_SCALE_MM**2 + (_FINE_SCALE_VOXELS * spacing) ** 2)
    crop = grow_box(box, [int(margin) for margin in np.ceil(reach_mm / spacing)], mask.shape)
    fine = _smooth(mask[crop].astype(np.float32), np.full(3, _FINE_SCALE_VOXELS))
    once = _smooth(fine, FORM_SCALE_MM / spacing)
    twice = _smooth(once, FORM_SCALE_MM / spacing)
    departures_mm, slices = _departures_mm(fine, once, twice, spacing)
    return SurfaceDepartures(departures_mm, slices + crop[0].start, spacing_mm_zyx[0])


def _departures_mm(fine: FloatArray, once: FloatArray, twice: FloatArray, spacing_mm: NDArray[np.float64],
                   ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return ``(1 - G)^2 h`` and the slice of the points where grid lines cross the half level of ``fine``."""
    departures, slices = [], []
    inside = fine >= 0.5
    for axis in range(3):
        low, high = _neighbours(axis)
        at = np.nonzero(inside[low] != inside[high])
        after = tuple(index + (a == axis) for a, index in enumerate(at))
        below, above = fine[at].astype(np.float64), fine[after].astype(np.float64)
        share = (0.5 - below) / (above - below)
        values = [field[at] * (1 - share) + field[after] * share for field in (once, twice)]
        normal = _unit_normals(once, at, spacing_mm)
        fine_variance = ((normal * _FINE_SCALE_VOXELS * spacing_mm) ** 2).sum(axis=1)
        # The half level lies at height 0; a smoothed surface above it leaves a value above one half.
        depths = [(value - 0.5) * np.sqrt(2 * np.pi * (factor * FORM_SCALE_MM**2 + fine_variance))
                  for factor, value in zip((1, 2), values, strict=True)]
        departures.append(depths[1] - 2 * depths[0])
        slices.append(at[0])
    return np.concatenate(departures), np.concatenate(slices)


def _unit_normals(field: FloatArray, at: tuple[NDArray[np.intp], ...], spacing_mm: NDArray[np.float64],
                  ) -> NDArray[np.float64]:
    components = []
    for axis in range(3):
        last = field.shape[axis] - 1
        before = tuple(np.maximum(index - 1, 0) if a == axis else index for a, index in enumerate(at))
        after = tuple(np.minimum(index + 1, last) if a == axis else index for a, index in enumerate(at))
        steps = np.maximum(after[axis] - before[axis], 1)
        components.append((field[after].astype(np.float64) - field[before]) / (steps * spacing_mm[axis]))
    gradient = np.stack(components, axis=1)
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    # Where the form is flat to within rounding there is no direction; all axes then share the weight.
    return np.where(length > 1e-9, gradient / np.maximum(length, 1e-9), np.sqrt(1 / 3))


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high


def _smooth(field: FloatArray, sigma_voxels: NDArray[np.float64]) -> FloatArray:
    return gaussian_filter(field, sigma_voxels, mode="nearest", truncate=_TRUNCATE, output=np.float32)
