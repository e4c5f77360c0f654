"""Lumbar vertebrae above the sacrum, for scans that begin higher than those of a hip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import Coordinates, FloatArray, Point, capsule, ellipse_tube

# A mean lumbar vertebra: half width, half depth and height of its body, and the disc above it.
HALF_WIDTH_MM, HALF_DEPTH_MM, BODY_MM, DISC_MM = 24.0, 17.0, 27.0, 9.0
VERTEBRAE = 5
# The least gap between the sacrum and what is drawn above it.
_ABOVE_SACRUM_MM = 4.0
_LEAN = -0.12


@dataclass(frozen=True)
class LumbarSpine:
    """A column of vertebrae in the pelvis frame.

    Attributes
    ----------
    foot_mm : ndarray
        Middle of the sacrum's upper end.
    size : float
        Factor on every length.
    """

    foot_mm: NDArray[np.float64]
    size: float = 1.0

    @property
    def box_mm(self) -> NDArray[np.float64]:
        """Lowest and highest x, y, z, shape (2, 3)."""
        height = VERTEBRAE * (BODY_MM + DISC_MM) * self.size
        low = self.foot_mm + np.array([-52.0, -45.0, 0.0]) * self.size
        high = self.foot_mm + np.array([52.0, 70.0, 0.0]) * self.size + np.array([0.0, 0.0, height])
        return np.stack([low, high])

    def field(self, at: Coordinates) -> FloatArray:
        """Return the field of all vertebrae, negative inside."""
        size, step = self.size, (BODY_MM + DISC_MM) * self.size
        x, z = at.x - np.float32(self.foot_mm[0]), at.z - np.float32(self.foot_mm[2])
        # The column leans forwards above the sacrum.
        y = at.y - np.float32(self.foot_mm[1]) - np.float32(_LEAN) * z
        level = np.clip(np.floor(z / np.float32(step)), 0, VERTEBRAE - 1)
        up = z - (level + np.float32(0.5)) * np.float32(step)
        waist = 1 - np.float32(0.12) * np.clip(1 - (up / np.float32(0.4 * step)) ** 2, 0, 1)
        body = np.maximum(ellipse_tube(x, y, HALF_WIDTH_MM * size * waist, HALF_DEPTH_MM * size * waist),
                          np.abs(up) - np.float32(BODY_MM * size / 2))
        local = Coordinates(np.abs(x) + 0 * up, y + 0 * up, up)

        def rod(start: Point, end: Point, first: float, last: float) -> FloatArray:
            return capsule(local, np.asarray(start) * size, np.asarray(end) * size, first * size, last * size)

        arch = np.minimum(rod((15, 12, 5), (11, 34, 0), 4.5, 5.0), rod((11, 34, 0), (0, 42, -6), 4.0, 4.0))
        processes = np.minimum(rod((0, 42, -6), (0, 66, -12), 3.5, 3.0), rod((13, 24, 4), (46, 30, 5), 4.0, 3.0))
        bone = np.minimum(np.minimum(body, arch), processes)
        return np.maximum(bone, np.float32(_ABOVE_SACRUM_MM) - z).astype(np.float32)


def foot_of_spine(sacrum_field: FloatArray, at: Coordinates) -> NDArray[np.float64] | None:
    """Return the middle of a sacrum's upper end from its field on a mesh, None where there is no bone.

    Parameters
    ----------
    sacrum_field : ndarray
        Negative inside.
    at : Coordinates
        Points of the mesh, pelvis frame.
    """
    inside = sacrum_field < 0
    if not inside.any():
        return None
    x, y, z = (np.broadcast_to(axis, inside.shape)[inside] for axis in (at.x, at.y, at.z))
    top = float(z.max())
    upper = z > top - 8.0
    return np.array([float(x[upper].mean()), float(y[upper].mean()), top])
