"""A smooth random displacement of a pelvis that leaves both hip joints as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.phantom.shapes import Coordinates, FloatArray, smooth_step

STEP_MM = 20.0
# Standard deviation of the Gaussian that makes the noise smooth, in steps.
_SMOOTH_STEPS = 1.6
_CORNER_MM = (-180.0, -140.0, -220.0)
_COUNT_XYZ = (19, 16, 18)
# Around the head's surface nothing moves up to the first distance, everything beyond the second.
STILL_MM, FREE_MM = 9.0, 45.0
_DENSE_MM = 5.0


@dataclass(frozen=True)
class ElasticWarp:
    """Displacement in the pelvis frame (origin between the head centres).

    It vanishes within 9 mm of both femoral heads and rises from there: head and cup keep their shapes and
    their gap, and the joint can still be turned.

    Attributes
    ----------
    lattices : ndarray of float32
        Shape (3, z, y, x): displacement along x, y and z in mm.
    head_at_mm : float
        Distance of each head centre from the midline.
    head_radius_mm : float
        The larger one of both.
    """

    lattices: NDArray[np.float32]
    head_at_mm: float
    head_radius_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sd_mm: float, head_at_mm: float, head_radius_mm: float) -> ElasticWarp:
        """Draw a displacement whose components have this standard deviation far from the joints."""
        lattices = []
        for _ in range(3):
            noise = ndimage.gaussian_filter(rng.standard_normal(_COUNT_XYZ[::-1]), _SMOOTH_STEPS, mode="wrap")
            lattices.append(noise * (sd_mm / noise.std()))
        return cls(np.asarray(lattices, dtype=np.float32), head_at_mm, head_radius_mm)

    def at(self, points: Coordinates) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the displacement along x, y and z at points of the pelvis frame.

        On a dense grid it is evaluated at points at most 5 mm apart and interpolated between them.
        """
        x, y, z = np.broadcast_arrays(points.x, points.y, points.z)
        picked = [_picked(x, y, z, axis) for axis in range(x.ndim)]
        if x.ndim < 3 or all(len(part) == size for part, size in zip(picked, x.shape, strict=True)):
            return self._exactly(x, y, z)
        mesh = np.ix_(*picked)
        coarse = np.stack(self._exactly(x[mesh], y[mesh], z[mesh]))
        for axis, (part, size) in enumerate(zip(picked, x.shape, strict=True)):
            coarse = _between(coarse, axis + 1, part, size)
        return coarse[0], coarse[1], coarse[2]

    def _exactly(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        to_head = np.sqrt((np.abs(x) - np.float32(self.head_at_mm)) ** 2 + y ** 2 + z ** 2)
        weight = smooth_step(to_head, self.head_radius_mm + STILL_MM, self.head_radius_mm + FREE_MM)
        where = np.stack([(axis - np.float32(low)) / np.float32(STEP_MM)
                          for axis, low in zip((z, y, x), _CORNER_MM[::-1], strict=True)])
        first, second, third = (weight * ndimage.map_coordinates(lattice, where, order=1, mode="nearest",
                                                                 output=np.float32) for lattice in self.lattices)
        return first, second, third


def _picked(x: FloatArray, y: FloatArray, z: FloatArray, axis: int) -> NDArray[np.intp]:
    """Return indices along an axis that lie at most 5 mm apart, both ends among them."""
    size = x.shape[axis]
    if size < 3:
        return np.arange(size)
    start = (0,) * x.ndim
    after = tuple(1 if a == axis else 0 for a in range(x.ndim))
    step = float(np.sqrt(sum((float(part[after]) - float(part[start])) ** 2 for part in (x, y, z))))
    count = int(np.ceil((size - 1) * max(step, 1e-3) / _DENSE_MM)) + 1
    return np.unique(np.round(np.linspace(0, size - 1, min(count, size))).astype(np.intp))


def _between(values: FloatArray, axis: int, known: NDArray[np.intp], size: int) -> FloatArray:
    """Interpolate linearly along an axis from the known indices to all."""
    if len(known) == size:
        return values
    every = np.arange(size)
    low = np.clip(np.searchsorted(known, every, side="right") - 1, 0, len(known) - 2)
    share = ((every - known[low]) / (known[low + 1] - known[low])).astype(np.float32)
    share = share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    first = np.take(values, low, axis=axis)
    return first + share * (np.take(values, low + 1, axis=axis) - first)
