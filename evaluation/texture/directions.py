"""The 13 directions of a voxel's 26 neighbours, and walking along them in a region of grey levels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

# One of each pair of opposite neighbours at Chebyshev distance 1, as (z, y, x).
DIRECTIONS_ZYX: tuple[tuple[int, int, int], ...] = tuple(
    (z, y, x) for z, y, x in itertools.product((-1, 0, 1), repeat=3) if (z, y, x) > (0, 0, 0))


class Aggregation(str, Enum):
    """How the matrices of the directions become one value (IBSI manual, sections 3.6 and 3.7)."""

    MERGED = "3d_merged"
    """IAZD: the matrices are summed, then features are computed once."""
    AVERAGED = "3d_averaged"
    """ITBB: features are computed for each direction, then averaged over the directions that have any."""


@dataclass(frozen=True)
class LevelField:
    """Grey levels in a box with a margin of one voxel, flat, so that a neighbour is one addition away.

    Attributes
    ----------
    flat : ndarray of integer
        Levels, 0 outside the region; one-dimensional, one a voxel of the box.
    voxels : ndarray of integer
        Positions in ``flat`` of the region's voxels, shape (voxels,).
    steps : tuple of int
        Distance in ``flat`` to the neighbour in each of the 13 directions.
    """

    flat: NDArray[np.integer]
    voxels: NDArray[np.intp]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, levels_zyx: NDArray[np.integer]) -> LevelField:
        """Return the field of a volume of grey levels with 0 outside the region."""
        padded = np.pad(levels_zyx, 1)
        _, height, width = padded.shape
        flat = padded.ravel()
        return cls(flat, np.flatnonzero(flat), tuple((z * height + y) * width + x for z, y, x in DIRECTIONS_ZYX))

    def neighbour_pairs(self) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
        """Yield for each direction the levels of voxels and of their neighbours, where both are in the region.

        Both have the shape (pairs,).
        """
        own = self.flat[self.voxels]
        for step in self.steps:
            other = self.flat[self.voxels + step]
            inside = other > 0
            yield own[inside], other[inside]

    def runs(self) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
        """Yield for each direction level and length of every run of equal levels, both of shape (runs,).

        All runs are walked at once, a step at a time: each voxel is visited once a direction.
        """
        own = self.flat[self.voxels]
        for step in self.steps:
            begins = self.flat[self.voxels - step] != own
            position, level = self.voxels[begins], own[begins]
            found_levels, found_lengths = [], []
            length = 1
            while position.size:
                position = position + step
                goes_on = self.flat[position] == level
                ended = level[~goes_on]
                found_levels.append(ended)
                found_lengths.append(np.full(ended.size, length))
                position, level = position[goes_on], level[goes_on]
                length += 1
            yield np.concatenate(found_levels), np.concatenate(found_lengths)
