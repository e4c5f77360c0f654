"""Signed distance on a lattice: how a bone known as voxels becomes a smooth surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from femur_nnunet.phantom.shapes import Coordinates, FloatArray

_UNITS_PER_MM = 100.0
_FARTHEST_MM = 320.0
# Nearer than this to the surface the blurred mask tells the distance better than whole steps do.
_NEAR_STEPS = 1.6


@dataclass(frozen=True)
class Lattice:
    """A field sampled at even steps along x, y and z of some frame.

    Attributes
    ----------
    values : ndarray of int16
        Shape (z, y, x), hundredths of a millimetre, negative inside.
    step_mm : float
        Distance of lattice points.
    corner_mm_xyz : tuple of float
        Position of the first point.
    """

    values: NDArray[np.int16]
    step_mm: float
    corner_mm_xyz: tuple[float, float, float]

    @classmethod
    def store(cls, distance_mm: FloatArray, step_mm: float, corner_mm_xyz: tuple[float, float, float]) -> Lattice:
        """Round distances to hundredths of a millimetre."""
        clipped = np.clip(distance_mm, -_FARTHEST_MM, _FARTHEST_MM)
        return cls(np.round(clipped * _UNITS_PER_MM).astype(np.int16), step_mm, corner_mm_xyz)

    @property
    def ends_mm(self) -> NDArray[np.float64]:
        """Lowest and highest x, y, z, shape (2, 3)."""
        low = np.asarray(self.corner_mm_xyz)
        return np.stack([low, low + (np.array(self.values.shape[::-1]) - 1) * self.step_mm])

    def at(self, points: Coordinates) -> FloatArray:
        """Interpolate linearly; beyond the lattice the values of its edge go on."""
        where = np.stack([(axis - np.float32(low)) / np.float32(self.step_mm) for axis, low in
                          zip(np.broadcast_arrays(points.z, points.y, points.x), self.corner_mm_xyz[::-1],
                              strict=True)])
        values = ndimage.map_coordinates(self.values, where, order=1, mode="nearest", output=np.float32)
        return values / np.float32(_UNITS_PER_MM)


def distance_from_share(share: FloatArray, step_mm: float, blur_mm: float) -> FloatArray:
    """Return the distance to the surface where a blurred mask passes one half.

    Across a plane surface a mask blurred by a Gaussian of standard deviation s is the normal distribution of
    distance / s; its inverse gives the distance beside the surface to a fraction of a step. Further away the
    Euclidean distance transform takes over.

    Parameters
    ----------
    share : ndarray
        Shape (z, y, x): the blurred mask at lattice points.
    step_mm : float
        Distance of lattice points.
    blur_mm : float
        Standard deviation of the blur.
    """
    inside = share > 0.5
    outer = ndimage.distance_transform_edt(~inside, sampling=step_mm).astype(np.float32)
    inner = ndimage.distance_transform_edt(inside, sampling=step_mm).astype(np.float32)
    half = np.float32(step_mm / 2)
    distance = np.where(inside, half - inner, outer - half)
    near = np.abs(distance) < _NEAR_STEPS * step_mm
    exact = -np.float32(blur_mm) * special.ndtri(np.clip(share[near], 0.01, 0.99)).astype(np.float32)
    distance[near] = exact
    return np.asarray(ndimage.gaussian_filter(distance, 0.6, mode="nearest"), dtype=np.float32)
