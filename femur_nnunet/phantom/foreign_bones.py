"""Bone that belongs to no hip: closed shells like a skull, a patella or a vertebra, and ribs; for randomised scans."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule, ellipsoid

_RIB_JOINTS = 7


@dataclass(frozen=True)
class BoneShell:
    """A closed ellipsoid of cortex around spongy bone, fat or brain.

    Attributes
    ----------
    centre_mm, half_axes_mm : tuple of float
        x, y, z; LPS.
    cortex_mm : float
        Thickness of the shell.
    cortex_hu, inner_hu : float
        What the shell and its inside read.
    """

    centre_mm: tuple[float, float, float]
    half_axes_mm: tuple[float, float, float]
    cortex_mm: float
    cortex_hu: float
    inner_hu: float

    @property
    def box_mm(self) -> NDArray[np.float64]:
        """Lowest and highest x, y, z, shape (2, 3)."""
        centre, half = np.asarray(self.centre_mm), np.asarray(self.half_axes_mm) + 3.0
        return np.stack([centre - half, centre + half])

    def parts(self, at: Coordinates) -> list[tuple[FloatArray, float]]:
        """Return fields (negative inside) and HU; later parts cover earlier ones."""
        field = ellipsoid(at, self.centre_mm, self.half_axes_mm)
        return [(field, self.cortex_hu), (field + np.float32(self.cortex_mm), self.inner_hu)]


@dataclass(frozen=True)
class Ribs:
    """Pairs of curved rods within the trunk's wall, sloping forwards and down.

    Attributes
    ----------
    lowest_mm : tuple of float
        Middle of the trunk at the lowest rib's back end, x, y, z, LPS.
    half_width_mm, half_depth_mm : float
        Half axes of the ellipse that the ribs follow.
    pairs : int
        How many, upwards.
    step_mm, drop_mm : float
        Distance of two ribs, and how much lower a rib's front end lies than its back end.
    radius_mm : float
        Of the rod.
    cortex_hu, inner_hu : float
        What cortex and spongy bone read.
    """

    lowest_mm: tuple[float, float, float]
    half_width_mm: float
    half_depth_mm: float
    pairs: int
    step_mm: float
    drop_mm: float
    radius_mm: float
    cortex_hu: float
    inner_hu: float

    @property
    def box_mm(self) -> NDArray[np.float64]:
        """Lowest and highest x, y, z, shape (2, 3)."""
        low, margin = np.asarray(self.lowest_mm), self.radius_mm + 3.0
        reach = np.array([self.half_width_mm, self.half_depth_mm, 0.0])
        return np.stack([low - reach - [0.0, 0.0, self.drop_mm] - margin,
                         low + reach + [0.0, 0.0, self.step_mm * (self.pairs - 1)] + margin])

    def parts(self, at: Coordinates) -> list[tuple[FloatArray, float]]:
        """Return fields (negative inside) and HU; later parts cover earlier ones."""
        # Both sides at once, and each pair is the one below it moved up: the nearest pair is all that counts.
        x = np.abs(at.x - np.float32(self.lowest_mm[0]))
        y = at.y - np.float32(self.lowest_mm[1])
        height = at.z - np.float32(self.lowest_mm[2])
        # From the back (LPS: y grows backwards) round the flank to the front.
        angles = np.linspace(np.radians(80.0), np.radians(-50.0), _RIB_JOINTS)
        joints = [(self.half_width_mm * np.cos(angle), self.half_depth_mm * np.sin(angle),
                   -self.drop_mm * number / (_RIB_JOINTS - 1)) for number, angle in enumerate(angles)]
        field: FloatArray | None = None
        for start, end in pairwise(joints):
            middle = np.float32((start[2] + end[2]) / 2)
            pair = np.clip(np.round((height - middle) / np.float32(self.step_mm)), 0, self.pairs - 1)
            rod = capsule(Coordinates(x, y, height - pair * np.float32(self.step_mm)), start, end, self.radius_mm,
                          self.radius_mm)
            field = rod if field is None else np.minimum(field, rod)
        assert field is not None
        return [(field, self.cortex_hu), (field + np.float32(1.2), self.inner_hu)]
