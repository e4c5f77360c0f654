"""Volume, mineral, density and cortical thickness by region: one image and one mask in, five rows out.

Everything here is a pure function of arrays; files and tables are dealt with elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.calibration.units import DensityCalibration, DensityUnit
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.density.compartments import Compartments, separate
from femur_nnunet.evaluation.density.cortical_thickness import CortexMap, map_cortex
from femur_nnunet.evaluation.density.density_row import DensityRow, MaskSource
from femur_nnunet.evaluation.density.density_status import OF_REGION, DensityStatus, gravest
from femur_nnunet.landmarks.femur_landmarks import SideName
from femur_nnunet.landmarks.femur_regions import FemurRegions, find_regions
from femur_nnunet.regions import REGION_MAP_LABELS, Region

# No bone attenuates as much; a little of it may be a calcification beside the bone.
METAL_FROM_HU = 2500.0
LEAST_METAL_MM3 = 30.0
# Marrow fat lies above -200 HU; what is below is air, padding, or outside the field of view.
AIR_BELOW_HU = -400.0
LARGEST_AIR_SHARE = 0.005
# 80 kVp and K2HPO4 give 0.54 mg/cc for 1 HU, 140 kVp and HA 1.05; water is 0 HU within some tens of mg/cc.
PLAUSIBLE_SLOPE = (0.35, 1.5)
LARGEST_INTERCEPT_MG_CC = 80.0
_MARGIN_MM = 8.0


@dataclass(frozen=True)
class FemurDensity:
    """What :func:`measure_femur` found.

    Attributes
    ----------
    rows : list of DensityRow
        One a region, ``total`` first.
    regions : FemurRegions
        Region map on the grid of the mask.
    """

    rows: list[DensityRow]
    regions: FemurRegions


def measure_density(hounsfield_zyx: NDArray[np.generic], mask_zyx: NDArray[np.generic],
                    spacing_mm_zyx: tuple[float, float, float], *, side: SideName,
                    calibration: DensityCalibration | None, case_id: str = "",
                    source: MaskSource = "reference") -> list[DensityRow]:
    """Return the rows of :func:`measure_femur` alone."""
    return measure_femur(hounsfield_zyx, mask_zyx, spacing_mm_zyx, side=side, calibration=calibration,
                         case_id=case_id, source=source).rows


def measure_femur(hounsfield_zyx: NDArray[np.generic], mask_zyx: NDArray[np.generic],
                  spacing_mm_zyx: tuple[float, float, float], *, side: SideName,
                  calibration: DensityCalibration | None, case_id: str = "",
                  source: MaskSource = "reference") -> FemurDensity:
    """Measure one femur.

    Parameters
    ----------
    hounsfield_zyx, mask_zyx : ndarray
        Shape (z, y, x), axes along LPS: image in HU, and the femur (non-zero) on the same grid.
    spacing_mm_zyx : tuple of float
        Voxel spacing.
    side : {"left", "right"}
        Which femur the image shows: ``left`` for a right hip that was flipped.
    calibration : DensityCalibration or None
        Without one the volumes and the cortical thickness are given and the densities left out.
    case_id, source
        Written into the rows.

    Raises
    ------
    FemurError
        The shapes differ or the mask is empty.
    """
    if hounsfield_zyx.shape != mask_zyx.shape:
        raise FemurError(f"an image of shape {hounsfield_zyx.shape} and a mask of {mask_zyx.shape}",
                         expected="both on one grid", action="give image and mask of the same case", subject=case_id)
    regions = find_regions(mask_zyx, spacing_mm_zyx, side, subject=case_id)
    box = _surroundings(mask_zyx, spacing_mm_zyx)
    measured = _Femur(np.asarray(hounsfield_zyx[box], dtype=np.float32), np.asarray(mask_zyx[box]) != 0,
                      regions.label_map[box], regions.shares, spacing_mm_zyx)
    fault = _fault_of_scan(measured)
    unusable = gravest(fault, _fault_of_calibration(calibration))
    density = None if unusable is not DensityStatus.OK else calibration
    rows = measured.rows(density, with_thickness=fault is DensityStatus.OK)
    return FemurDensity([replace(row, case_id=case_id, source=source, status=gravest(
        unusable, OF_REGION[regions.status[row.region]])) for row in rows], regions)


class _Femur:
    """Arrays of one femur's surroundings, measured region by region."""

    def __init__(self, hounsfield: NDArray[np.float32], mask: NDArray[np.bool_], labels: NDArray[np.uint8],
                 shares: Mapping[Region, NDArray[np.float32]], spacing: tuple[float, float, float]) -> None:
        self.hounsfield, self.mask, self.labels, self.spacing = hounsfield, mask, labels, spacing
        # In the order of the mask's voxels, which a box around the mask does not change.
        self.shares = shares
        self.voxel_ml = float(np.prod(spacing)) / 1000.0

    def rows(self, calibration: DensityCalibration | None, *, with_thickness: bool) -> list[DensityRow]:
        """Return a row a region; a region without a voxel has no values."""
        density: NDArray[np.float64] | None = None
        parts: Compartments | None = None
        if calibration is not None:
            density = calibration.density_mg_cc(self.hounsfield.astype(np.float64))
            parts = separate(density, self.mask, self.labels == REGION_MAP_LABELS[Region.SHAFT], self.spacing,
                             calibration.unit)
        cortex = map_cortex(self.hounsfield, self.mask, self._thickness_regions(), self.spacing
                            ) if with_thickness else None
        unit = calibration.unit if calibration else None
        return [self._row(region, unit, density, parts, cortex) for region in Region]

    def _row(self, region: Region, unit: DensityUnit | None, density: NDArray[np.float64] | None,
             parts: Compartments | None, cortex: CortexMap | None) -> DensityRow:
        label = None if region is Region.TOTAL else REGION_MAP_LABELS[region]
        chosen = self.mask if label is None else self.labels == label
        row = DensityRow("", "reference", region, unit)
        if not chosen.any():
            return row
        share = np.ones(np.count_nonzero(self.mask), dtype=np.float32) if label is None else self.shares[region]
        volume = float(share.sum(dtype=np.float64)) * self.voxel_ml
        row = replace(row, volume_ml=volume,
                      cortical_thickness_mm=math.nan if cortex is None else cortex.mean_mm(label))
        if density is None or parts is None:
            return row
        mineral = float((density[self.mask] * share).sum()) * self.voxel_ml
        return replace(row, bmc_mg=mineral, vbmd_integral=mineral / volume,
                       vbmd_cortical=_mean(density[chosen & parts.cortical]),
                       vbmd_trabecular=_mean(density[chosen & parts.trabecular]))

    def _thickness_regions(self) -> NDArray[np.uint8]:
        """Return the region map; without regions one label for all, so that the total can be given."""
        return self.labels if self.labels.any() else self.mask.astype(np.uint8)


def _fault_of_scan(femur: _Femur) -> DensityStatus:
    inside = femur.hounsfield[femur.mask]
    if np.count_nonzero(inside > METAL_FROM_HU) * femur.voxel_ml * 1000.0 > LEAST_METAL_MM3:
        return DensityStatus.METAL
    if np.mean(~(inside > AIR_BELOW_HU)) > LARGEST_AIR_SHARE:
        return DensityStatus.OUTSIDE_FIELD_OF_VIEW
    return DensityStatus.OK


def _fault_of_calibration(calibration: DensityCalibration | None) -> DensityStatus:
    if calibration is None:
        return DensityStatus.UNCALIBRATED
    plausible = (PLAUSIBLE_SLOPE[0] <= calibration.slope <= PLAUSIBLE_SLOPE[1]
                 and abs(calibration.intercept) <= LARGEST_INTERCEPT_MG_CC)
    return DensityStatus.OK if plausible else DensityStatus.CALIBRATION_IMPLAUSIBLE


def _surroundings(mask: NDArray[np.generic], spacing: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """Return the mask's box with room for profiles across its surface."""
    found = []
    for axis in range(3):
        filled = np.flatnonzero(np.asarray(mask).any(axis=tuple({0, 1, 2} - {axis})))
        margin = math.ceil(_MARGIN_MM / spacing[axis])
        found.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + 1 + margin))
    return found[0], found[1], found[2]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
