"""A volume, the grid it lies on, and the acquisition facts that come with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from femur_nnunet.volume_io.slice_positions import SlicePositions

# 4 GiB of int16 voxels: beyond any hip scan; a damaged header must not ask for all memory.
MAXIMUM_VOXELS = 1 << 31
# What voxels become that no detector has seen: outside the field of view, outside slid slices.
AIR_HU = -1024


@dataclass(frozen=True)
class Grid:
    """A regular grid in LPS world coordinates (millimetres; x to the Left, y Posterior, z Superior).

    Index order is ``(i, j, k)``, fastest axis first, as in SimpleITK; the array that belongs to a
    grid has the shape ``(k, j, i)``.

    Attributes
    ----------
    size_ijk : tuple of int
        Number of voxels along each axis.
    spacing_mm_ijk : tuple of float
        Distance of voxel centres along each axis in mm.
    origin_mm_lps : tuple of float
        World position of the centre of voxel (0, 0, 0).
    direction : tuple of float
        Row-major 3 x 3 matrix whose columns are the unit vectors of the axes in LPS.
    """

    size_ijk: tuple[int, int, int]
    spacing_mm_ijk: tuple[float, float, float]
    origin_mm_lps: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Shape of the array that lies on this grid."""
        return self.size_ijk[2], self.size_ijk[1], self.size_ijk[0]

    @property
    def direction_matrix(self) -> NDArray[np.float64]:
        """The direction as a 3 x 3 array; column ``a`` is the unit vector of axis ``a``."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    def world_mm_lps(self, index_ijk: tuple[float, float, float]) -> NDArray[np.float64]:
        """Return the world position (LPS, mm) of a (fractional) voxel index, shape (3,)."""
        scaled = np.asarray(index_ijk, dtype=np.float64) * np.asarray(self.spacing_mm_ijk)
        return np.asarray(self.origin_mm_lps) + self.direction_matrix @ scaled

    def corners_mm_lps(self) -> NDArray[np.float64]:
        """Return the world positions (8, 3) of the centres of the eight corner voxels."""
        last = [n - 1 for n in self.size_ijk]
        return np.stack([self.world_mm_lps((i * last[0], j * last[1], k * last[2]))
                         for k in (0, 1) for j in (0, 1) for i in (0, 1)])


@dataclass(frozen=True)
class AcquisitionTags:
    """The facts of an acquisition that may leave the hospital: an allow-list, nothing else is ever read out.

    ``None`` where the source does not say.
    """

    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    kvp: float | None = None
    kernel: str | None = None
    slice_thickness_mm: float | None = None
    gantry_tilt_deg: float | None = None


@dataclass
class Volume:
    """Voxels on a grid.

    Attributes
    ----------
    array : ndarray
        Shape ``(k, j, i)``, that is ``(z, y, x)`` once oriented to LPS; CT values in HU.
    grid : Grid
        Where the voxels lie.
    tags : AcquisitionTags
        What the source says of its acquisition.
    source_format : str
        ``dicom``, ``nifti``, ``metaimage`` or ``nrrd``.
    notes : list of str
        What a reader should know: a skipped localiser, padding replaced by air. No names, no paths.
    slices : SlicePositions, optional
        Where the source's slices lay, if the voxels were resampled from them; ``None``: the source's own voxels.
    """

    array: NDArray[Any]
    grid: Grid
    tags: AcquisitionTags = field(default_factory=AcquisitionTags)
    source_format: str = "nifti"
    notes: list[str] = field(default_factory=list)
    slices: SlicePositions | None = None
