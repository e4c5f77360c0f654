"""Sizes of synthetic scans and the grids on which one is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import Coordinates
from femur_nnunet.volume_io.volume import Grid

SizeName = Literal["tiny", "small", "full"]
# Thin steps along z that are averaged to a slice; bone surfaces are followed within them.
LONGEST_SUBSTEP_MM = 1.6


@dataclass(frozen=True)
class ScanSize:
    """Matrix and spacing of a scan before a scanner's factors."""

    columns: int
    rows: int
    pixel_mm: float
    slice_spacing_mm: float
    extent_mm: float


SCAN_SIZES: dict[SizeName, ScanSize] = {
    "tiny": ScanSize(132, 96, 3.0, 3.0, 165.0),
    "small": ScanSize(200, 140, 2.0, 3.0, 180.0),
    "full": ScanSize(512, 512, 0.78125, 1.0, 200.0),
}


@dataclass(frozen=True)
class RenderGrid:
    """The fine grid that the object is evaluated on, and the scan's own grid.

    Attributes
    ----------
    grid : Grid
        The scan's grid, axes along LPS, slices from feet to head.
    substeps, margin : int
        Fine slices for each slice, and beyond the first and last one.
    thickness_mm : float
        Slice thickness, which may exceed the spacing.
    averaged_mm_zyx : tuple of float, optional
        Box that a fine voxel averages over; without it the voxel itself. A smaller one renders what is
        left of a finer scan of which every n-th voxel was kept.
    """

    grid: Grid
    substeps: int
    margin: int
    thickness_mm: float
    averaged_mm_zyx: tuple[float, float, float] | None = None

    @classmethod
    def build(cls, grid: Grid, thickness_mm: float) -> RenderGrid:
        """Choose fine slices for a grid and a slice thickness."""
        spacing = grid.spacing_mm_ijk[2]
        substeps = max(1, int(np.ceil(spacing / LONGEST_SUBSTEP_MM)))
        margin = max(0, int(np.ceil((thickness_mm - spacing) / 2 / (spacing / substeps) - 1e-9)))
        return cls(grid, substeps, margin, thickness_mm)

    @property
    def fine_step_mm(self) -> float:
        """Distance of fine slices."""
        return self.grid.spacing_mm_ijk[2] / self.substeps

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        """Spacing of the fine grid."""
        return self.fine_step_mm, self.grid.spacing_mm_ijk[1], self.grid.spacing_mm_ijk[0]

    @property
    def voxel_mm_zyx(self) -> tuple[float, float, float]:
        """Box that a fine voxel averages over."""
        return self.averaged_mm_zyx or self.spacing_mm_zyx

    @property
    def blend_mm(self) -> float:
        """Width in the plane over which borders of soft parts are blended."""
        return self.voxel_mm_zyx[2]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of arrays on the fine grid."""
        columns, rows, slices = self.grid.size_ijk
        return slices * self.substeps + 2 * self.margin, rows, columns

    def axes_mm_zyx(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the world coordinates of the fine grid along z, y and x."""
        depth, rows, columns = self.shape_zyx
        first = self.grid.origin_mm_lps[2] - self.fine_step_mm * ((self.substeps - 1) / 2 + self.margin)
        return (first + self.fine_step_mm * np.arange(depth, dtype=np.float64),
                self.grid.origin_mm_lps[1] + self.grid.spacing_mm_ijk[1] * np.arange(rows, dtype=np.float64),
                self.grid.origin_mm_lps[0]
                + self.grid.spacing_mm_ijk[0] * np.arange(columns, dtype=np.float64))

    def coordinates(self, box: tuple[slice, slice, slice]) -> Coordinates:
        """Return the world coordinates of a box of the fine grid as open mesh."""
        z, y, x = (axis[part].astype(np.float32) for axis, part in zip(self.axes_mm_zyx(), box, strict=True))
        return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])

    def box_around(self, corners_mm: NDArray[np.float64], rotation: NDArray[np.float64],
                   origin_mm: NDArray[np.float64]) -> tuple[slice, slice, slice]:
        """Return the part of the fine grid that holds a box given in a turned frame.

        Parameters
        ----------
        corners_mm : ndarray
            Shape (2, 3): lowest and highest x, y, z in that frame.
        rotation, origin_mm : ndarray
            Axes (columns) and origin of the frame in the world.
        """
        ends = np.array([[corners_mm[i, 0], corners_mm[j, 1], corners_mm[k, 2]]
                         for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        world = origin_mm + ends @ rotation.T
        parts = []
        for axis, low, high in zip(self.axes_mm_zyx(), world.min(axis=0)[::-1], world.max(axis=0)[::-1],
                                   strict=True):
            start = int(np.searchsorted(axis, low))
            parts.append(slice(start, max(start, int(np.searchsorted(axis, high, side="right")))))
        return parts[0], parts[1], parts[2]
