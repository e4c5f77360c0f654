"""Bringing arrays into patient order, (z, y, x) in LPS, by permuting and flipping axes only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.volume_io.volume import Grid, Volume

# The voxel type of an array goes through unchanged.
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class AxisMapping:
    """Which source axis becomes which axis of the target grid, and which of them are reversed.

    Axes are numbered in index order ``(i, j, k)`` = ``(x, y, z)``, fastest first, as in :class:`Grid`.

    Attributes
    ----------
    permutation : tuple of int
        ``permutation[a]`` is the source axis that becomes target axis ``a``.
    flips : tuple of bool
        ``flips[a]`` says whether target axis ``a`` runs against its source axis.

    Raises
    ------
    ValueError
        They are no permutation of three axes and three flips.
    """

    permutation: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def __post_init__(self) -> None:
        if sorted(self.permutation) != [0, 1, 2]:
            raise ValueError(f"the permutation must hold 0, 1 and 2 once each, got {self.permutation}")
        if len(self.flips) != 3:
            raise ValueError(f"one flip an axis is needed, got {self.flips}")

    @property
    def is_identity(self) -> bool:
        """Whether nothing is moved."""
        return self.permutation == (0, 1, 2) and not any(self.flips)

    def apply(self, array_kji: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of a source array ``(k, j, i)`` in target order ``(z, y, x)``."""
        permuted = array_kji.transpose(_numpy_axes(self.permutation))
        return permuted[_numpy_flips(self.flips)]

    def undo(self, array_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of a target array ``(z, y, x)`` in source order ``(k, j, i)``."""
        inverse = tuple(self.permutation.index(axis) for axis in range(3))
        return array_zyx[_numpy_flips(self.flips)].transpose(_numpy_axes(inverse))

    def apply_to_grid(self, source: Grid) -> Grid:
        """Return the grid of the mapped array; every voxel keeps its world position."""
        sizes, spacings = source.size_ijk, source.spacing_mm_ijk
        columns = source.direction_matrix[:, list(self.permutation)]
        signs = np.where(np.asarray(self.flips), -1.0, 1.0)
        first_index = [0.0, 0.0, 0.0]
        for target_axis, source_axis in enumerate(self.permutation):
            if self.flips[target_axis]:
                first_index[source_axis] = float(sizes[source_axis] - 1)
        origin = source.world_mm_lps((first_index[0], first_index[1], first_index[2]))
        first, second, third = self.permutation
        return Grid(
            size_ijk=(sizes[first], sizes[second], sizes[third]),
            spacing_mm_ijk=(spacings[first], spacings[second], spacings[third]),
            origin_mm_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
            # Adding 0.0 turns the -0.0 of a flipped zero cosine into 0.0, so that equal grids compare and print equal.
            direction=tuple(float(value) + 0.0 for value in (columns * signs).ravel()))


def _numpy_axes(permutation: tuple[int, ...]) -> tuple[int, int, int]:
    """Translate a permutation of ``(i, j, k)`` axes into numpy's transpose order for ``(k, j, i)`` arrays."""
    return 2 - permutation[2], 2 - permutation[1], 2 - permutation[0]


def _numpy_flips(flips: tuple[bool, bool, bool]) -> tuple[slice, slice, slice]:
    forward, backward = slice(None), slice(None, None, -1)
    return (backward if flips[2] else forward, backward if flips[1] else forward,
            backward if flips[0] else forward)


def best_axis_mapping(cosines: NDArray[np.float64]) -> AxisMapping:
    """Return the assignment of source axes to target axes that keeps the axes closest to each other.

    All six permutations are compared by the sum of the absolute cosines they use, so that an oblique
    direction cannot give one source axis to two target axes, as choosing axis by axis could. On ties
    the permutation nearest to the identity in lexicographic order is taken.

    Parameters
    ----------
    cosines : ndarray
        Shape (3, 3); ``cosines[a, b]`` is the cosine between target axis ``a`` and source axis ``b``.
    """
    rows = np.arange(3)
    permutation = max(itertools.permutations(range(3)),
                      # Rounding keeps a true tie a tie; max() returns the first of equal candidates.
                      key=lambda candidate: round(float(np.abs(cosines[rows, list(candidate)]).sum()), 9))
    flips = tuple(bool(cosines[axis, permutation[axis]] < 0) for axis in range(3))
    return AxisMapping((permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2]))


def orient_to_lps(volume: Volume) -> tuple[Volume, AxisMapping]:
    """Permute and flip the axes so that the array is ``(z, y, x)`` in LPS; nothing is resampled.

    x runs to the patient's left, y to posterior and z to superior as nearly as the direction permits; an
    oblique direction stays oblique. Every voxel keeps its value and its world position.

    Parameters
    ----------
    volume : Volume
        Any volume.

    Returns
    -------
    oriented : Volume
        A volume whose array is a contiguous copy (or the same array, if nothing moves).
    mapping : AxisMapping
        The way from the source axes to the oriented ones.
    """
    mapping = best_axis_mapping(volume.grid.direction_matrix)
    if mapping.is_identity:
        return volume, mapping
    return replace(volume, array=np.ascontiguousarray(mapping.apply(volume.array)),
                   grid=mapping.apply_to_grid(volume.grid), notes=list(volume.notes)), mapping
