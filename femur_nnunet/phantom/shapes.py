"""Signed distance fields of simple solids and how to join them.

A field is negative inside, in millimetres. All functions take coordinate arrays that broadcast against
each other (float32 on a grid) and return a new array. Joined or stretched fields are no longer exact
distances; :func:`rescale_to_distance` restores them to first order near the surface, which is what a
cortical shell of a given thickness needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Point = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Positions of grid points, in mm: three arrays that broadcast against each other, order (z, y, x)."""

    x: FloatArray
    y: FloatArray
    z: FloatArray

    def moved(self, rotation: NDArray[np.float64], origin: Point) -> Coordinates:
        """Return the coordinates in a frame with this origin whose axes are the columns of ``rotation``."""
        dx, dy, dz = (axis - np.float32(start) for axis, start in zip((self.x, self.y, self.z), origin,
                                                                      strict=True))
        matrix = np.asarray(rotation, dtype=np.float32)
        return Coordinates(*(matrix[0, a] * dx + matrix[1, a] * dy + matrix[2, a] * dz for a in range(3)))

    def mirrored(self) -> Coordinates:
        """Return the coordinates with x negated: a right hip seen as a left one."""
        return Coordinates(-self.x, self.y, self.z)


def sphere(at: Coordinates, centre: Point, radius_mm: float) -> FloatArray:
    """Return the exact distance to a sphere."""
    return np.sqrt((at.x - np.float32(centre[0])) ** 2 + (at.y - np.float32(centre[1])) ** 2
                   + (at.z - np.float32(centre[2])) ** 2) - np.float32(radius_mm)


def ellipsoid(at: Coordinates, centre: Point, half_axes_mm: Point) -> FloatArray:
    """Return a first-order distance to an axis-aligned ellipsoid."""
    scaled = [(axis - np.float32(start)) / np.float32(half)
              for axis, start, half in zip((at.x, at.y, at.z), centre, half_axes_mm, strict=True)]
    norm = np.sqrt(sum(part ** 2 for part in scaled))
    slope = np.sqrt(sum((part / np.float32(half)) ** 2 for part, half in zip(scaled, half_axes_mm,
                                                                              strict=True)))
    return norm * (norm - np.float32(1)) / np.maximum(slope, np.float32(1e-4))


def capsule(at: Coordinates, start: Point, end: Point, start_radius_mm: float,
            end_radius_mm: float) -> FloatArray:
    """Return the distance to a rod with round ends whose radius changes linearly from start to end."""
    axis = np.asarray(end, dtype=np.float64) - np.asarray(start, dtype=np.float64)
    length_squared = float(axis @ axis)
    dx, dy, dz = (at.x - np.float32(start[0]), at.y - np.float32(start[1]), at.z - np.float32(start[2]))
    along = np.clip((dx * np.float32(axis[0]) + dy * np.float32(axis[1]) + dz * np.float32(axis[2]))
                    / np.float32(length_squared), 0, 1)
    across = np.sqrt((dx - along * np.float32(axis[0])) ** 2 + (dy - along * np.float32(axis[1])) ** 2
                     + (dz - along * np.float32(axis[2])) ** 2)
    return across - (np.float32(start_radius_mm) + along * np.float32(end_radius_mm - start_radius_mm))


def rounded_box(at: Coordinates, centre: Point, half_sizes_mm: Point, rounding_mm: float) -> FloatArray:
    """Return the distance to an axis-aligned box with rounded edges; half sizes include the rounding."""
    outside = [np.abs(axis - np.float32(start)) - np.float32(half - rounding_mm)
               for axis, start, half in zip((at.x, at.y, at.z), centre, half_sizes_mm, strict=True)]
    beyond = np.sqrt(sum(np.maximum(part, np.float32(0)) ** 2 for part in outside))
    within = np.minimum(np.maximum(np.maximum(outside[0], outside[1]), outside[2]), np.float32(0))
    return beyond + within - np.float32(rounding_mm)


def ellipse_tube(across_minor_mm: FloatArray, across_major_mm: FloatArray, half_minor_mm: FloatArray | float,
                 half_major_mm: FloatArray | float) -> FloatArray:
    """Return a first-order distance to an endless tube of elliptic section.

    Parameters
    ----------
    across_minor_mm, across_major_mm : ndarray
        Coordinates in the plane of the section.
    half_minor_mm, half_major_mm : ndarray or float
        Half axes, which may change along the tube.
    """
    u, v = across_minor_mm / half_minor_mm, across_major_mm / half_major_mm
    norm = np.sqrt(u ** 2 + v ** 2)
    slope = np.sqrt((u / half_minor_mm) ** 2 + (v / half_major_mm) ** 2)
    # On the axis itself the ratio is 0 / 0; its limit there is the smaller half axis.
    return np.where(norm > 1e-3, norm * (norm - 1) / np.maximum(slope, np.float32(1e-6)),
                    -np.minimum(half_minor_mm, half_major_mm)).astype(np.float32)


def smooth_union(first: FloatArray, second: FloatArray, blend_mm: float) -> FloatArray:
    """Return the union of two fields with a fillet of about ``blend_mm``.

    The quadratic polynomial smooth minimum: where the fields differ by more than ``blend_mm`` it is the
    plain minimum, so a blend never reaches further than that.
    """
    width = np.float32(blend_mm)
    overlap = np.maximum(width - np.abs(first - second), np.float32(0))
    return np.minimum(first, second) - overlap * overlap / (4 * width)


def smooth_intersection(first: FloatArray, second: FloatArray, blend_mm: float) -> FloatArray:
    """Return the intersection of two fields with an edge rounded by about ``blend_mm``."""
    return -smooth_union(-first, -second, blend_mm)


def gradient(field: FloatArray, spacing_mm_zyx: Sequence[float]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the derivatives of a field on a grid along z, y and x; a single slice has no derivative in z."""
    if field.shape[0] == 1:
        in_plane = np.gradient(field, *spacing_mm_zyx[1:], axis=(1, 2))
        return np.zeros_like(field), *in_plane
    derivatives = np.gradient(field, *spacing_mm_zyx)
    return derivatives[0], derivatives[1], derivatives[2]


def rescale_to_distance(field: FloatArray, spacing_mm_zyx: Sequence[float], *,
                        voxel_mm_zyx: Sequence[float] | None = None) -> tuple[FloatArray, FloatArray]:
    """Turn a joined field into a distance to first order and tell how wide a voxel is across its surface.

    Parameters
    ----------
    field : ndarray
        Shape (z, y, x), negative inside.
    spacing_mm_zyx : sequence of float
        Grid spacing.
    voxel_mm_zyx : sequence of float, optional
        Box that a voxel averages over, where that is not the grid's spacing.

    Returns
    -------
    distance : ndarray
        ``field / |gradient|``. The gradient is kept above one half, since it vanishes on the medial
        axis, far from any surface.
    width : ndarray
        Extent of a voxel along the surface normal in mm: the ramp over which it is partly filled.
    """
    along = gradient(field, spacing_mm_zyx)
    norm = np.sqrt(along[0] ** 2 + along[1] ** 2 + along[2] ** 2)
    box = spacing_mm_zyx if voxel_mm_zyx is None else voxel_mm_zyx
    extent = sum(np.abs(part) * np.float32(edge) for part, edge in zip(along, box, strict=True))
    width = extent / np.maximum(norm, np.float32(1e-3))
    smallest = np.float32(min(box))
    return field / np.maximum(norm, np.float32(0.5)), np.maximum(width, smallest)


def coverage(distance: FloatArray, width: FloatArray | float) -> FloatArray:
    """Return the share of each voxel that lies inside, from the distance of its centre to the surface."""
    return np.clip(np.float32(0.5) - distance / width, 0, 1, dtype=np.float32)


def smooth_step(value: FloatArray, low: float, high: float) -> FloatArray:
    """Return 0 below ``low``, 1 above ``high`` and a cubic ramp between; ``low`` may exceed ``high``."""
    share = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return share * share * (3 - 2 * share)
