"""Slices that make no regular grid, and the regular grid that they are brought onto when the user asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.volume_io.volume import AIR_HU, Grid

# A slice nearer to a target plane than this part of the gap is taken as it is, so that rounded positions blur nothing.
SNAP_FRACTION = 1e-3
# Gaps within this fraction of a whole number of the finest ones count as whole.
WHOLE_FRACTION = 0.02


@dataclass(frozen=True)
class SlicePositions:
    """Where each slice of a stack lies, and the regular grid of its resampled volume.

    Attributes
    ----------
    along_mm : tuple of float
        Distance of each slice from the first one along their normal, ascending.
    shift_ij : tuple of (float, float)
        How far each slice has slid within its plane against the first one, in pixels along i and j.
    size_ij : tuple of int
        Columns and rows of a slice.
    offset_ij : tuple of int
        Index on ``grid`` of the first slice's pixel (0, 0): the grid is widened so that no slid slice loses a part.
    grid : Grid
        The regular grid; its first plane holds the first slice's pixels unchanged.
    """

    along_mm: tuple[float, ...]
    shift_ij: tuple[tuple[float, float], ...]
    size_ij: tuple[int, int]
    offset_ij: tuple[int, int]
    grid: Grid

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """Shape (slices, rows, columns) of the stack before resampling."""
        return len(self.along_mm), self.size_ij[1], self.size_ij[0]

    def plane_origin_mm(self, index: int) -> NDArray[np.float64]:
        """Return the world position (LPS, mm) of pixel (0, 0) of one slice of the stack."""
        (i, j), along = self.shift_ij[index], self.along_mm[index]
        return self.grid.world_mm_lps((self.offset_ij[0] + i, self.offset_ij[1] + j,
                                       along / self.grid.spacing_mm_ijk[2]))

    def resample_linear(self, stack: NDArray[np.generic], fill: float = AIR_HU) -> NDArray[np.generic]:
        """Interpolate a stack of slices linearly onto the grid.

        Slid slices are first moved within their plane, linearly too; then each plane of the grid is the mean of its
        two neighbours along the normal, weighted by their true distances. Integers are rounded.

        Parameters
        ----------
        stack : ndarray
            Shape ``stack_shape``, in the order of ``along_mm``.
        fill : float, optional
            Value where no slice reaches.

        Returns
        -------
        ndarray
            Shape ``grid.shape_kji``, the type of ``stack``.
        """
        result = np.empty(self.grid.shape_kji, dtype=stack.dtype)
        moved: dict[int, NDArray[np.float32]] = {}
        for k in range(self.grid.size_ijk[2]):
            below, weight = self._neighbours(k)
            needed = [below] if weight == 0 else [below, below + 1]
            # Two slices at a time are kept as floats, not the whole stack.
            moved = {index: moved[index] if index in moved else self._moved(stack[index], index, fill)
                     for index in needed}
            plane = moved[below] if weight == 0 else (1 - weight) * moved[below] + weight * moved[below + 1]
            result[k] = np.rint(plane) if np.issubdtype(stack.dtype, np.integer) else plane
        return result

    def resample_nearest(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a stack of labels onto the grid: each voxel takes the nearest slice and the nearest pixel.

        The stack has the shape ``stack_shape``, the result the shape ``grid.shape_kji``.
        """
        result = np.zeros(self.grid.shape_kji, dtype=np.uint8)
        for k in range(self.grid.size_ijk[2]):
            distance = np.abs(np.asarray(self.along_mm) - k * self.grid.spacing_mm_ijk[2])
            # The tolerance lets a voxel half-way between two slices take the lower one whatever the rounding.
            index = int(np.flatnonzero(distance <= distance.min() + 1e-6)[0])
            i, j = (offset + round(shift) for offset, shift in zip(self.offset_ij, self.shift_ij[index], strict=True))
            result[k, j:j + self.size_ij[1], i:i + self.size_ij[0]] = labels[index]
        return result

    def _neighbours(self, k: int) -> tuple[int, float]:
        """Return the slice below plane ``k`` of the grid, and the weight of the one above it."""
        along = np.asarray(self.along_mm)
        position = k * self.grid.spacing_mm_ijk[2]
        below = int(np.clip(np.searchsorted(along, position, side="right") - 1, 0, along.size - 2))
        weight = float(np.clip((position - along[below]) / (along[below + 1] - along[below]), 0, 1))
        if weight > 1 - SNAP_FRACTION:
            return below + 1, 0.0
        return below, 0.0 if weight < SNAP_FRACTION else weight

    def _moved(self, plane: NDArray[np.generic], index: int, fill: float) -> NDArray[np.float32]:
        size_i, size_j, _ = self.grid.size_ijk
        shift_i, shift_j = self.shift_ij[index]
        along_i = _shifted(plane.astype(np.float32), self.offset_ij[0] + shift_i, size_i, fill)
        return _shifted(along_i.T, self.offset_ij[1] + shift_j, size_j, fill).T


def regular_grid_of(positions_mm: NDArray[np.float64], directions: NDArray[np.float64],
                    pixel_spacing_mm_ij: tuple[float, float], size_ij: tuple[int, int], *,
                    even: bool, sheared: bool = True) -> SlicePositions:
    """Find the regular grid of slices that are uneven, slide within their plane, or both.

    Parameters
    ----------
    positions_mm : ndarray
        Shape (slices, 3): pixel (0, 0) of each slice, ascending along the normal.
    directions : ndarray
        Shape (3, 3); columns along i, along j and the normal.
    pixel_spacing_mm_ij, size_ij : tuple
        Of one slice.
    even : bool
        Whether the spacing counts as even; the slices then keep their number. Otherwise the finest gap, shortened
        so that a whole number of them reaches from the first slice to the last.
    sheared : bool, optional
        Whether slices count as sliding within their plane. Otherwise what they slide by is rounding in the headers,
        and they are taken as they are, as in a series that needs no mending.
    """
    offsets = (positions_mm - positions_mm[0]) @ directions
    along = offsets[:, 2]
    n_steps = len(along) - 1 if even else max(1, math.ceil(along[-1] / np.diff(along).min() - WHOLE_FRACTION))
    spacing = float(along[-1] / n_steps)
    if even:
        along = spacing * np.arange(len(along))
    shift = offsets[:, :2] / np.asarray(pixel_spacing_mm_ij)
    # Positions are written with few digits: a thousandth of a pixel is rounding.
    shift = np.round(shift, 3) + 0.0 if sheared else np.zeros_like(shift)
    first = np.floor(shift.min(axis=0)).astype(int)
    extra = np.ceil(shift.max(axis=0)).astype(int) - first
    origin = positions_mm[0] + directions[:, :2] @ (first * np.asarray(pixel_spacing_mm_ij))
    grid = Grid((size_ij[0] + int(extra[0]), size_ij[1] + int(extra[1]), n_steps + 1),
                (*pixel_spacing_mm_ij, spacing), (float(origin[0]), float(origin[1]), float(origin[2])),
                tuple(float(value) + 0.0 for value in directions.ravel()))
    return SlicePositions(tuple(float(value) for value in along), tuple((float(i), float(j)) for i, j in shift),
                          size_ij, (-int(first[0]), -int(first[1])), grid)


def _shifted(plane: NDArray[np.float32], start: float, length: int, fill: float) -> NDArray[np.float32]:
    """Move the last axis of a plane so that its pixel 0 lies at ``start`` of an axis of ``length`` pixels."""
    whole = math.floor(start)
    part = start - whole
    n = plane.shape[1]
    result = np.full((plane.shape[0], length), fill, dtype=np.float32)
    if part == 0:
        result[:, whole:whole + n] = plane
    else:
        # A pixel that lies between the last one and nothing is left out: half of it would be air.
        result[:, whole + 1:whole + n] = (1 - part) * plane[:, 1:] + part * plane[:, :-1]
    return result
