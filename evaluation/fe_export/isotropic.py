"""A femur's mask and scan on an isotropic grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.landmarks.femur_regions import sound_bone
from femur_nnunet.volume_io.volume import Grid

FloatArray = NDArray[np.float32]
# Room around the bone, so that no surface lies at the edge of the grid where the bone does not.
MARGIN_MM = 4.0


@dataclass(frozen=True)
class IsotropicFemur:
    """One femur on an isotropic grid; arrays have the shape (z, y, x).

    Attributes
    ----------
    distance_mm : ndarray of float32
        Signed distance to the bone's surface, positive inside; half a voxel beyond the image's end the bone ends too.
    hounsfield : ndarray of float32
        The scan.
    offset_mm_xyz : ndarray
        Place of the first voxel from that of the source's first voxel, along the source's axes.
    grid : Grid
        Where the voxels lie.
    """

    distance_mm: FloatArray
    hounsfield: FloatArray
    offset_mm_xyz: NDArray[np.float64]
    grid: Grid

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The bone, shape (z, y, x)."""
        return self.distance_mm > 0


def resample(hounsfield_zyx: NDArray[np.generic], mask_zyx: NDArray[np.generic], grid: Grid,
             spacing_mm: float) -> IsotropicFemur:
    """Bring one femur onto an isotropic grid.

    The mask's largest component, its holes filled, is interpolated by its signed distance (shape-based interpolation,
    Raya & Udupa, IEEE Trans Med Imaging 1990; 9:32-42), so that thick slices leave no steps; the scan linearly.
    """
    inside = np.asarray(mask_zyx) != 0
    spacing = np.asarray(grid.spacing_mm_ijk)
    found = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in (2, 1, 0)]
    # From outer face to outer face of the mask's voxels, plus the margin, but never beyond the image.
    low = np.array([max(one[0] * step - MARGIN_MM, -0.5 * step) for one, step in zip(found, spacing, strict=True)])
    high = np.array([min(one[-1] * step + MARGIN_MM, (size - 0.5) * step)
                     for one, step, size in zip(found, spacing, grid.size_ijk, strict=True)])
    size = np.maximum(np.floor((high - low) / spacing_mm).astype(int), 1)
    first = (low + high) / 2 - (size - 1) / 2 * spacing_mm
    places = [(first[axis] + spacing_mm * np.arange(size[axis])) / spacing[axis] for axis in (2, 1, 0)]
    box = tuple(slice(max(0, int(np.floor(place[0])) - 2), int(np.ceil(place[-1])) + 3) for place in places)
    bone = sound_bone(inside[box])
    local = [place - part.start for place, part in zip(places, box, strict=True)]
    distance = _sample(signed_distance(bone, (float(spacing[2]), float(spacing[1]), float(spacing[0]))), local)
    origin = grid.world_mm_lps((first[0] / spacing[0], first[1] / spacing[1], first[2] / spacing[2]))
    target = Grid((int(size[0]), int(size[1]), int(size[2])), (spacing_mm,) * 3,
                  (float(origin[0]), float(origin[1]), float(origin[2])), grid.direction)
    return IsotropicFemur(distance, _sample(np.asarray(hounsfield_zyx[box], dtype=np.float32), local), first, target)


def signed_distance(bone: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float]) -> FloatArray:
    """Return the distance in mm to the surface between voxels, positive inside; where the array ends the bone goes on.

    Mask and distances have the shape (z, y, x).
    """
    padded = np.pad(bone, 1, mode="edge")
    inside, outside = (ndimage.distance_transform_edt(part, sampling=spacing_mm_zyx) for part in (padded, ~padded))
    return np.asarray((inside - outside)[1:-1, 1:-1, 1:-1], dtype=np.float32)


def _sample(volume: FloatArray, places: list[NDArray[np.float64]]) -> FloatArray:
    """Interpolate linearly at a grid of places; axis by axis, since both grids are parallel."""
    for axis, place in enumerate(places):
        last = volume.shape[axis] - 1
        lower = np.clip(np.floor(place).astype(int), 0, max(last - 1, 0))
        share = np.clip(place - lower, 0.0, 1.0).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = -1
        upper = np.minimum(lower + 1, last)
        share = share.reshape(shape)
        volume = np.take(volume, lower, axis=axis) * (1 - share) + np.take(volume, upper, axis=axis) * share
    return volume
