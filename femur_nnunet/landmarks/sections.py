"""Plane sections through a bone given as a mask: their area, centroid and half axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.floating]
Vector = NDArray[np.float64]
SECTION_STEP_MM = 0.75


@dataclass(frozen=True)
class BoneVolume:
    """A smoothed mask that can be sampled anywhere.

    Attributes
    ----------
    share : ndarray of float32
        Shape (z, y, x); one half on the surface.
    spacing_mm_xyz, origin_mm_xyz : ndarray
        Spacing, and position of voxel (0, 0, 0).
    """

    share: NDArray[np.float32]
    spacing_mm_xyz: Vector
    origin_mm_xyz: Vector

    def at(self, points_mm_xyz: FloatArray) -> NDArray[np.float32]:
        """Return the share at points (..., 3); nothing lies outside the array."""
        index = (points_mm_xyz - self.origin_mm_xyz) / self.spacing_mm_xyz
        where = np.moveaxis(index, -1, 0)[::-1]
        return np.asarray(ndimage.map_coordinates(self.share, where, order=1, mode="constant", output=np.float32))

    def centres_mm(self) -> Vector:
        """Return the positions (n, 3) of the voxels inside."""
        index = np.argwhere(self.share > 0.5)[:, ::-1]
        return np.asarray(self.origin_mm_xyz + index * self.spacing_mm_xyz)


@dataclass(frozen=True)
class Section:
    """One plane section.

    Attributes
    ----------
    area_mm2 : float
        Area of the part nearest to the axis.
    centroid_mm : ndarray
        Its centroid (x, y, z).
    half_minor_mm, half_major_mm : float
        Half axes of the ellipse with the same second moments.
    reaches_edge : bool
        The part touches the edge of the sampled square, or the plane leaves the image within it.
    """

    area_mm2: float
    centroid_mm: Vector
    half_minor_mm: float
    half_major_mm: float
    reaches_edge: bool


def cross_section(bone: BoneVolume, point_mm: Vector, normal: Vector, *, reach_mm: float) -> Section | None:
    """Cut the bone by a plane.

    Parameters
    ----------
    bone : BoneVolume
        The bone.
    point_mm, normal : ndarray
        A point of the plane, in the middle of the square that is looked at, and its unit normal; both of shape (3,).
    reach_mm : float
        Half the side of that square.

    Returns
    -------
    Section or None
        The connected part that holds the point, or the part nearest to it; None where there is no bone.
    """
    first, second = plane_axes(normal)
    steps = np.arange(-reach_mm, reach_mm + 1e-6, SECTION_STEP_MM)
    plane = point_mm + steps[:, None, None] * first + steps[None, :, None] * second
    parts, count = ndimage.label(bone.at(plane) > 0.5)
    if count == 0:
        return None
    rows, columns = np.nonzero(parts)
    nearest = int(np.argmin(steps[rows] ** 2 + steps[columns] ** 2))
    chosen = parts == parts[rows[nearest], columns[nearest]]
    rows, columns = np.nonzero(chosen)
    u, v = steps[rows], steps[columns]
    # A cell's own second moment is added, so that small sections come out right.
    moments = np.cov(np.stack([u, v]), bias=True) + np.eye(2) * SECTION_STEP_MM ** 2 / 12
    minor, major = 2.0 * np.sqrt(np.linalg.eigvalsh(moments))
    last = len(steps) - 1
    edge = bool(rows.min() == 0 or columns.min() == 0 or rows.max() == last or columns.max() == last)
    return Section(len(u) * SECTION_STEP_MM ** 2, point_mm + u.mean() * first + v.mean() * second,
                   float(minor), float(major), edge)


def plane_axes(normal: Vector) -> tuple[Vector, Vector]:
    """Return two unit vectors that span the plane across a unit normal."""
    helper = np.eye(3)[int(np.argmin(np.abs(normal)))]
    first = np.cross(normal, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(normal, first)


def fit_line(points_mm: Vector) -> tuple[Vector, Vector]:
    """Return centroid and unit direction (downwards, -z) of the least-squares line through points (n, 3)."""
    centre = points_mm.mean(axis=0)
    direction = np.linalg.svd(points_mm - centre, full_matrices=False)[2][0]
    return centre, direction if direction[2] < 0 else -direction
