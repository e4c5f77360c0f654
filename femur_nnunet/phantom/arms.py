"""A forearm with its hand beside or upon the pelvis: skin, fat, muscle and hollow bones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule

SKIN_HU = 20.0
# A forearm from elbow to wrist, and a hand from the wrist to the finger tips.
FOREARM_MM, HAND_MM = 250.0, 175.0
_CORTEX_MM = 2.4
_FINGERS = (-1.5, -0.5, 0.5, 1.5)

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One forearm and hand.

    Attributes
    ----------
    wrist_mm, along, across : ndarray
        Position of the wrist; unit vectors from the elbow to the hand, and across the palm.
    radius_mm : float
        Radius of the forearm near the elbow.
    fat_mm : float
        Fat under its skin.
    fat_hu, muscle_hu, cortex_hu, marrow_hu : float
        What fills it.
    """

    wrist_mm: Vector
    along: Vector
    across: Vector
    radius_mm: float
    fat_mm: float
    fat_hu: float
    muscle_hu: float
    cortex_hu: float
    marrow_hu: float

    @property
    def box_mm(self) -> NDArray[np.float64]:
        """Lowest and highest x, y, z, shape (2, 3)."""
        ends = np.stack([self.wrist_mm - FOREARM_MM * self.along, self.wrist_mm + HAND_MM * self.along])
        margin = self.radius_mm + 25.0
        return np.stack([ends.min(axis=0) - margin, ends.max(axis=0) + margin])

    def parts(self, at: Coordinates) -> list[tuple[FloatArray, float]]:
        """Return fields (negative inside) and HU; later parts cover earlier ones."""
        soft, bones = self._soft(at), self._bones(at)
        return [(soft, SKIN_HU), (soft + np.float32(2.0), self.fat_hu),
                (soft + np.float32(2.0 + self.fat_mm), self.muscle_hu),
                (bones, self.cortex_hu), (bones + np.float32(_CORTEX_MM), self.marrow_hu)]

    def _soft(self, at: Coordinates) -> FloatArray:
        elbow = self.wrist_mm - FOREARM_MM * self.along
        palm = self.wrist_mm + 0.5 * HAND_MM * self.along
        field = capsule(at, elbow, self.wrist_mm, self.radius_mm, 0.62 * self.radius_mm)
        for place in _FINGERS:
            side = 19.0 * place * self.across
            knuckle = palm + side
            field = np.minimum(field, capsule(at, self.wrist_mm + 0.5 * side, knuckle, 15.0, 11.0))
            field = np.minimum(field, capsule(at, knuckle, palm + 0.5 * HAND_MM * self.along + 1.2 * side, 9.5, 7.0))
        return field

    def _bones(self, at: Coordinates) -> FloatArray:
        palm = self.wrist_mm + 0.5 * HAND_MM * self.along
        elbow = self.wrist_mm - FOREARM_MM * self.along
        field: FloatArray | None = None
        rods = [(elbow + 13 * self.across, self.wrist_mm + 11 * self.across, 7.0, 9.0),
                (elbow - 13 * self.across, self.wrist_mm - 12 * self.across, 9.0, 5.5)]
        for place in _FINGERS:
            side = 19.0 * place * self.across
            rods += [(self.wrist_mm + 14 * self.along + 0.6 * side, palm + side, 5.0, 5.0),
                     (palm + 5 * self.along + side, palm + 0.48 * HAND_MM * self.along + 1.2 * side, 4.6, 3.4)]
        for start, end, first, last in rods:
            rod = capsule(at, start, end, first, last)
            field = rod if field is None else np.minimum(field, rod)
        assert field is not None
        return field
