"""Tissue labels of a rendering and the mixing of bone into voxels by partial volume."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.phantom.shapes import Coordinates, FloatArray, coverage

CARTILAGE_HU = 75.0


class Tissue(IntEnum):
    """What fills most of a voxel."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    OTHER_SOFT = 3
    ROD_OR_TABLE = 4
    HIP_BONE = 5
    SACRUM = 6
    FEMUR_CORTEX = 7
    FEMUR_SPONGIOSA = 8
    FEMUR_MARROW = 9
    METAL = 10
    OTHER_BONE = 11


def soft_tissue_labels(hu: FloatArray, fat_hu: float, muscle_hu: float) -> NDArray[np.uint8]:
    """Return labels of a noise-free object without bone: fat and muscle within 15 HU of their values."""
    labels = np.full(hu.shape, Tissue.OTHER_SOFT, dtype=np.uint8)
    labels[hu < -500] = Tissue.AIR
    labels[np.abs(hu - np.float32(fat_hu)) < 15] = Tissue.FAT
    labels[np.abs(hu - np.float32(muscle_hu)) < 15] = Tissue.MUSCLE
    return labels


@dataclass(frozen=True)
class BoneFill:
    """Bone in the voxels of a box that it touches; all arrays are one-dimensional but ``touched``.

    Attributes
    ----------
    touched : ndarray of bool
        Shape of the box; the voxels of which the others speak.
    whole : ndarray
        Share of the voxel inside the outer surface.
    inside : ndarray
        Share inside the cortex's inner surface.
    cortical_mg_cc, spongy_mg_cc : ndarray or float
        Density of cortex and of what lies inside it.
    """

    touched: NDArray[np.bool_]
    whole: FloatArray
    inside: FloatArray
    cortical_mg_cc: FloatArray | float
    spongy_mg_cc: FloatArray

    @property
    def cortex(self) -> FloatArray:
        """Share of the voxel that is cortex."""
        return self.whole - self.inside

    @property
    def mineral_mg_cc(self) -> FloatArray:
        """Bone mineral for each volume of voxel, mg/cc: density times share."""
        return self.cortex * np.asarray(self.cortical_mg_cc, dtype=np.float32) + self.inside * self.spongy_mg_cc

    def mix_into(self, hu: FloatArray, soft_hu: FloatArray, hu_per_mg_cc: float) -> None:
        """Put the bone into the HU of its box, in place.

        ``soft_hu`` is the box before any bone came in: where two bones share a voxel, each replaces its
        own share of soft tissue and none of the other bone.
        """
        hu[self.touched] += (self.mineral_mg_cc * np.float32(hu_per_mg_cc)
                             - self.whole * soft_hu[self.touched])


def fill_bone(distance: FloatArray, width: FloatArray, thickness_mm: FloatArray | float, *,
              touched: NDArray[np.bool_], cortical_mg_cc: FloatArray | float, spongy_mg_cc: FloatArray) -> BoneFill:
    """Return the bone in voxels from their distance to its surface.

    The cortex's inner surface lies ``thickness_mm`` below the outer one.

    Parameters
    ----------
    distance, width : ndarray
        Shape of the box, in mm, from :func:`~femur_nnunet.phantom.shapes.rescale_to_distance`.
    thickness_mm : ndarray or float
        One-dimensional, at the touched voxels.
    touched : ndarray of bool
        Voxels with some bone.
    cortical_mg_cc, spongy_mg_cc
        Densities, one-dimensional at the touched voxels; the first may be one number.
    """
    depth, ramp = distance[touched], width[touched]
    return BoneFill(touched, coverage(depth, ramp), coverage(depth + thickness_mm, ramp), cortical_mg_cc,
                    spongy_mg_cc)


def texture(at: Coordinates, seed: int, *, cell_mm: float = 1.9) -> FloatArray:
    """Return a random texture of mean 0 and standard deviation near 1 at points of a bone's own frame.

    It lies on a lattice fixed to the bone, so that two scans of one person show the same trabeculae; the
    lattice repeats beyond its end.

    Parameters
    ----------
    at : Coordinates
        One-dimensional points, within 150 mm of the frame's origin for a pattern that does not repeat.
    seed : int
        Seed of the lattice.
    cell_mm : float
        Distance of independent values.
    """
    half_size_mm = 150.0
    count = min(128, int(np.ceil(2 * half_size_mm / cell_mm)) + 1)
    lattice = np.random.default_rng(seed).standard_normal((count, count, count), dtype=np.float32)
    # Trilinear interpolation lowers the variance to 8/27.
    where = np.stack([(axis + np.float32(half_size_mm)) / np.float32(cell_mm) for axis in (at.z, at.y, at.x)])
    values = ndimage.map_coordinates(lattice, where, order=1, mode="grid-wrap", output=np.float32)
    return values * np.float32((27 / 8) ** 0.5)
