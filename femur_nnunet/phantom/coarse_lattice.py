"""Smooth soft-tissue fields on a coarse lattice and their interpolation to the fine grid by slabs.

Soft tissue changes over many millimetres, so its fields are evaluated every few millimetres only.
Between the lattice's points cubic convolution (Keys, IEEE Trans. Acoust. Speech Signal Process. 29,
1981, a = -1/2) is written as one small matrix an axis: three matrix products then do the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import Coordinates, FloatArray

Box = tuple[slice, slice, slice]
Axes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
# Beyond the fine grid on each side, so that every fine point has two lattice points on either side.
_MARGIN_STEPS = 2
# Half the extent (z, y, x) of the block that random fields are drawn on: any patient in any scan.
NOISE_REACH_MM = (280.0, 240.0, 330.0)
WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class LatticeField:
    """A field on a part of a lattice.

    Attributes
    ----------
    values : ndarray
        Shape of ``box``.
    box : tuple of slice
        Part of the lattice, order (z, y, x).
    """

    values: FloatArray
    box: Box


@dataclass(frozen=True)
class CoarseLattice:
    """A coarse lattice around the fine points of a grid, along the same axes.

    Attributes
    ----------
    axes_mm : tuple of ndarray
        Positions of the lattice's planes along z, y and x.
    weights : tuple of ndarray
        For each axis a matrix (fine points, lattice points) that interpolates.
    """

    axes_mm: Axes
    weights: tuple[FloatArray, FloatArray, FloatArray]

    @classmethod
    def around(cls, fine_axes_mm: Axes, step_mm: float) -> CoarseLattice:
        """Return a lattice of this step that reaches beyond the fine points on all sides."""
        axes, weights = [], []
        for fine in fine_axes_mm:
            count = int(np.ceil((fine[-1] - fine[0]) / step_mm)) + 2 * _MARGIN_STEPS + 1
            axis = fine[0] + step_mm * (np.arange(count) - _MARGIN_STEPS)
            axes.append(axis)
            weights.append(cubic_weights((fine - axis[0]) / step_mm, count))
        return cls((axes[0], axes[1], axes[2]), (weights[0], weights[1], weights[2]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of planes along z, y and x."""
        return self.axes_mm[0].size, self.axes_mm[1].size, self.axes_mm[2].size

    def coordinates(self, box: Box = WHOLE) -> Coordinates:
        """Return the positions of the lattice's points as open mesh."""
        z, y, x = (axis[part].astype(np.float32) for axis, part in zip(self.axes_mm, box, strict=True))
        return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])

    def box_around(self, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]) -> Box:
        """Return the part of the lattice between two corners (x, y, z), one step wider."""
        parts = []
        for axis, low, high in zip(self.axes_mm, low_mm[::-1], high_mm[::-1], strict=True):
            start = max(int(np.searchsorted(axis, low)) - 1, 0)
            parts.append(slice(start, max(start, min(int(np.searchsorted(axis, high)) + 1, axis.size))))
        return parts[0], parts[1], parts[2]

    def fine_slices(self, box: Box) -> Box | None:
        """Return the fine points that a part of the lattice alone determines, None where there is none."""
        parts = []
        for weights, part in zip(self.weights, box, strict=True):
            missing = np.abs(weights).sum(axis=1) - np.abs(weights[:, part]).sum(axis=1)
            inside = np.flatnonzero(missing < 1e-5)
            if inside.size == 0:
                return None
            # A point that falls on a lattice plane needs that plane alone, so single points beyond the
            # part's ends may count as inside; the run around the middle is what the part determines.
            middle = int(inside[inside.size // 2])
            lacking = np.flatnonzero(missing >= 1e-5)
            start = lacking[lacking < middle].max(initial=-1) + 1
            stop = lacking[lacking > middle].min(initial=missing.size)
            parts.append(slice(int(start), int(stop)))
        return parts[0], parts[1], parts[2]

    def interpolate(self, field: LatticeField, fine: Box) -> FloatArray:
        """Return a field at a box of the fine points."""
        in_z, in_y, in_x = (weights[want, part] for weights, want, part
                            in zip(self.weights, fine, field.box, strict=True))
        _, rows, columns = field.values.shape
        # Lattice planes without weight in this slab would only be multiplied by zero.
        used = np.flatnonzero(in_z.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        planes = in_z[:, first:last] @ field.values[first:last].reshape(last - first, rows * columns)
        across = np.matmul(in_y, planes.reshape(-1, rows, columns))
        flat = across.reshape(-1, columns) @ in_x.T
        return flat.reshape(across.shape[0], in_y.shape[0], in_x.shape[0])


def cubic_weights(where: NDArray[np.float64], count: int) -> FloatArray:
    """Return the matrix of cubic convolution at fractional indices of ``count`` points.

    Parameters
    ----------
    where : ndarray
        Fractional indices; beyond 0 and ``count - 1`` the end value is held.
    count : int
        Number of lattice points, at least 2.

    Returns
    -------
    ndarray of float32
        Shape (where.size, count); every row sums to 1.
    """
    where = np.clip(where, 0.0, count - 1.0)
    below = np.minimum(where.astype(np.intp), count - 2)
    t = where - below
    parts = (-0.5 * t ** 3 + t ** 2 - 0.5 * t, 1.5 * t ** 3 - 2.5 * t ** 2 + 1,
             -1.5 * t ** 3 + 2 * t ** 2 + 0.5 * t, 0.5 * t ** 3 - 0.5 * t ** 2)
    weights = np.zeros((where.size, count), dtype=np.float32)
    rows = np.arange(where.size)
    for shift, part in zip((-1, 0, 1, 2), parts, strict=True):
        np.add.at(weights, (rows, np.clip(below + shift, 0, count - 1)), part.astype(np.float32))
    return weights


def draw_noise(rng: np.random.Generator, fine_axes_mm: Axes, origin_mm_lps: Sequence[float],
               cell_mm: tuple[float, float, float]) -> tuple[CoarseLattice, FloatArray]:
    """Draw independent normal values on cells fixed to the body, and the lattice that interpolates them.

    Two scans of one person that lie elsewhere show the same pattern: it is moved with the body, but not
    turned, since a few degrees do not matter for a random field.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    fine_axes_mm : tuple of ndarray
        Fine points along z, y and x.
    origin_mm_lps : sequence of float
        World position of the body's origin.
    cell_mm : tuple of float
        Distance of independent values along z, y and x.

    Returns
    -------
    lattice : CoarseLattice
        Its weights keep the variance of interpolated values near 1.
    values : ndarray
        The whole lattice's values.
    """
    axes: list[NDArray[np.float64]] = []
    weights = []
    for fine, cell, start, reach in zip(fine_axes_mm, cell_mm, tuple(origin_mm_lps)[::-1], NOISE_REACH_MM,
                                        strict=True):
        count = int(2 * reach / cell) + 4
        axis = start - reach + cell * np.arange(count, dtype=np.float64)
        matrix = cubic_weights((fine - axis[0]) / cell, count)
        axes.append(axis)
        weights.append((matrix / np.sqrt((matrix ** 2).sum(axis=1).mean())).astype(np.float32))
    lattice = CoarseLattice((axes[0], axes[1], axes[2]), (weights[0], weights[1], weights[2]))
    return lattice, rng.standard_normal(lattice.shape, dtype=np.float32)
