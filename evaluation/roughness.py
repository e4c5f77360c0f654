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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.gaussian_smoothing import GaussianCascade, kernel_radius
from femur_nnunet.evaluation.overlap import Box, bounding_box, grow_box, separate_boxes

FORM_SCALE_MM = 3.0
"""Standard deviation of the form filter; ripples shorter than about 12 mm count as roughness."""
_FINE_SCALE_VOXELS = 1.0
# Slices worked on at once: the box of a slab is tighter than that of the whole femur, and memory stays bounded.
_SLAB_SLICES = 64
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


def surface_departures(mask: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float],
                       box: Box | None = None) -> SurfaceDepartures:
    """Return how far each point of a mask's surface departs from the mask's smooth form.

    The mask is thought to go on unchanged beyond the image's edge: where the image cuts the shaft
    there is no surface.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        The mask in its whole image.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres along each axis.
    box : tuple of slice, optional
        The mask's bounding box where it is known.
    """
    box = box or bounding_box(mask)
    if box is None:
        return SurfaceDepartures(np.empty(0), np.empty(0, dtype=np.intp), spacing_mm_zyx[0])
    spacing = np.asarray(spacing_mm_zyx, dtype=np.float64)
    # Crossings lie at most one voxel outside the mask.
    first, last = max(box[0].start - 1, 0), min(box[0].stop + 1, mask.shape[0])
    filters = [np.full(3, _FINE_SCALE_VOXELS), FORM_SCALE_MM / spacing, FORM_SCALE_MM / spacing]
    parts = [(np.empty(0), np.empty(0, dtype=np.intp))]
    for start in range(first, last, _SLAB_SLICES):
        slab = slice(start, min(start + _SLAB_SLICES, last))
        # One voxel beyond the slab and two beyond the mask hold the differences that give the normals.
        reaches = [2 + sum(kernel_radius(float(sigmas[axis])) for sigmas in filters) for axis in range(3)]
        felt = slice(max(slab.start - reaches[0], 0), slab.stop + reaches[0]), *box[1:]
        # An island out of reach of the femur is smoothed on its own: no work is done for the emptiness between.
        parts += [_part_departures(mask, part, slab, filters, spacing) for part in separate_boxes(mask, felt, reaches)]
    departures_mm, slices = zip(*parts, strict=True)
    return SurfaceDepartures(np.concatenate(departures_mm), np.concatenate(slices), spacing_mm_zyx[0])


def _part_departures(mask: NDArray[np.bool_], part: Box, slab: slice, filters: Sequence[NDArray[np.float64]],
                     spacing_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return departures and slices of the surface points of one part of the mask, in one slab of slices."""
    slices, rows, columns = grow_box(part, [2, 2, 2], mask.shape)
    slices = slice(max(slab.start - 1, slices.start), min(slab.stop + 1, slices.stop))
    if slices.stop - slices.start < 2:
        return np.empty(0), np.empty(0, dtype=np.intp)
    solid = mask[part].astype(np.float32)
    target = slices, rows, columns
    fine, once, twice = (GaussianCascade(part, target, mask.shape, filters[:n]).apply(solid) for n in (1, 2, 3))
    own = slice(max(slab.start - slices.start, 0), slab.stop - slices.start)
    departures_mm, found = _departures_mm(fine, once, twice, own, spacing_mm)
    return departures_mm, found + slices.start


def _departures_mm(fine: FloatArray, once: FloatArray, twice: FloatArray, own: slice, spacing_mm: NDArray[np.float64],
                   ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return ``(1 - G)^2 h`` and the slice of the points where grid lines cross the half level of ``fine``.

    Points belong to the slice of their lower end; those outside of the slices ``own`` are left to other slabs.
    """
    departures, slices = [], []
    inside = fine >= 0.5
    for axis in range(3):
        low, high = _neighbours(axis)
        crossed = np.zeros(fine.shape, dtype=bool)
        np.not_equal(inside[low], inside[high], out=crossed[low])
        crossed[:own.start] = crossed[own.stop:] = False
        # Positions in the flattened arrays: numpy finds and reads these several times faster than index triples.
        at = np.flatnonzero(crossed)
        after = at + _stride(fine.shape, axis)
        below, above = fine.ravel()[at].astype(np.float64), fine.ravel()[after].astype(np.float64)
        share = (0.5 - below) / (above - below)
        values = [field.ravel()[at] * (1 - share) + field.ravel()[after] * share for field in (once, twice)]
        index = np.unravel_index(at, fine.shape)
        normal = _unit_normals(once, at, index, spacing_mm)
        fine_variance = ((normal * _FINE_SCALE_VOXELS * spacing_mm) ** 2).sum(axis=1)
        # The half level lies at height 0; a smoothed surface above it leaves a value above one half.
        depths = [(value - 0.5) * np.sqrt(2 * np.pi * (factor * FORM_SCALE_MM**2 + fine_variance))
                  for factor, value in zip((1, 2), values, strict=True)]
        departures.append(depths[1] - 2 * depths[0])
        slices.append(index[0])
    return np.concatenate(departures), np.concatenate(slices)


def _unit_normals(field: FloatArray, at: NDArray[np.intp], index: tuple[NDArray[np.intp], ...],
                  spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of the field's gradient at the flat positions ``at``, whose index triples are ``index``."""
    components = []
    for axis in range(3):
        stride = _stride(field.shape, axis)
        has_before, has_after = index[axis] > 0, index[axis] < field.shape[axis] - 1
        rise = field.ravel()[at + stride * has_after].astype(np.float64) - field.ravel()[at - stride * has_before]
        components.append(rise / (np.maximum(has_before.astype(int) + has_after, 1) * spacing_mm[axis]))
    gradient = np.stack(components, axis=1)
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    # Where the form is flat to within rounding there is no direction; all axes then share the weight.
    return np.where(length > 1e-9, gradient / np.maximum(length, 1e-9), np.sqrt(1 / 3))


def _stride(shape: tuple[int, ...], axis: int) -> int:
    return int(np.prod(shape[axis + 1:], dtype=np.intp))


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high
