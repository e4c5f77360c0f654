"""Checking that the planes of a CT series form a regular grid, and building that grid.

What the user has asked to be mended (:class:`~femur_nnunet.volume_io.reading_rules.ReadingRules`) is planned here and
done by :class:`~femur_nnunet.volume_io.slice_positions.SlicePositions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.dicom_headers import SliceHeader
from femur_nnunet.volume_io.reading_rules import STRICT, ReadingRules
from femur_nnunet.volume_io.slice_positions import SlicePositions, regular_grid_of
from femur_nnunet.volume_io.volume import MAXIMUM_VOXELS, Grid

# A slice may lie this far from its place on the regular grid (the larger of the two counts).
SPACING_TOLERANCE_MM = 0.05
SPACING_TOLERANCE_FRACTION = 0.02
# Planes nearer than this are one plane stored twice.
DUPLICATE_MM = 0.01
# How far the planes may slide within themselves over the whole series.
SHEAR_TOLERANCE_MM = 0.1
# Direction cosines are written with few digits: 1e-4 is 0.05 mm over a 512 mm field of view.
COSINE_TOLERANCE = 1e-4
ORTHONORMAL_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE_MM = 1e-4
_LISTED_GAPS = 8
# What a resampling may bridge or add: beyond it the result would be mostly invention.
LARGEST_BRIDGED_GAP_MM = 10.0
LARGEST_REFINEMENT = 10
# A tilted gantry moves every slice on by the same step; slices that slide to and fro are something else.
TILT_STRAIGHTNESS_MM = 0.5


@dataclass(frozen=True)
class SeriesGeometry:
    """Planes in the order of the grid's k axis, the grid, and what a reader should know.

    ``slices`` is set where the planes must be resampled onto the grid; ``shear_deg`` is how far they slide.
    """

    planes: list[SliceHeader]
    grid: Grid
    notes: list[str]
    slices: SlicePositions | None = None
    shear_deg: float | None = None


@dataclass(frozen=True)
class _Fault:
    found: str
    expected: str
    mend: str


def check_geometry(planes: Sequence[SliceHeader], *, subject: str = "",
                   rules: ReadingRules = STRICT) -> SeriesGeometry:
    """Sort the planes along their normal and refuse what is no regular, orthogonal grid.

    All faults of the positions are told together: a tilted series with a missing slice says both.

    Parameters
    ----------
    planes : sequence of SliceHeader
        The planes of one series, in any order.
    subject : str, optional
        What errors are about.
    rules : ReadingRules, optional
        Whether uneven spacing and tilt are refused or planned to be mended.

    Raises
    ------
    FemurError
        Missing attributes, planes of different size, spacing or orientation, planes at one position, uneven
        spacing or planes that slide (gantry tilt) unless the rules let them be mended, and those that cannot be:
        a gap above 10 mm, a finest gap that would give more than ten times as many slices, slices that slide to
        and fro.
    """
    _refuse_missing(planes, subject)
    first = planes[0]
    if len({(plane.rows, plane.columns) for plane in planes}) > 1:
        raise FemurError("slices of different numbers of rows and columns in one series",
                         expected="slices of one size", action="export the series again", subject=subject)
    if first.rows * first.columns * len(planes) > MAXIMUM_VOXELS:
        raise FemurError(f"{len(planes)} slices of {first.rows} x {first.columns} pixels",
                         expected=f"at most {MAXIMUM_VOXELS} voxels", action="check whether the headers are damaged",
                         subject=subject)
    spacings = np.array([plane.pixel_spacing_mm for plane in planes])
    if np.ptp(spacings, axis=0).max() > PIXEL_SPACING_TOLERANCE_MM:
        raise FemurError(f"pixel spacings from {spacings.min():g} to {spacings.max():g} mm in one series",
                         expected="one pixel spacing", action="export the series again", subject=subject)
    if not (np.isfinite(spacings).all() and spacings.min() > 0):
        raise FemurError(f"a pixel spacing of {spacings.min():g} mm", expected="a positive one",
                         action="export the series again", subject=subject)
    directions = _checked_directions(planes, subject)

    positions = np.array([plane.position_mm for plane in planes])
    along_mm = positions @ directions[:, 2]
    order = np.argsort(along_mm, kind="stable")
    positions, along_mm = positions[order], along_mm[order]
    _refuse_duplicates([planes[index] for index in order], along_mm, subject)
    spacing_mm = float((along_mm[-1] - along_mm[0]) / (len(planes) - 1))
    uneven, sheared = _spacing_fault(along_mm, spacing_mm), _shear_fault(positions, along_mm, directions)
    faults = [fault for fault in (uneven, sheared) if fault is not None]
    row_spacing, column_spacing = (float(value) for value in spacings[0])
    ordered = [planes[index] for index in order]
    if faults:
        if (uneven and not rules.resample_irregular) or (sheared and not rules.correct_tilt):
            raise FemurError("; ".join(fault.found for fault in faults),
                             expected="; ".join(fault.expected for fault in faults),
                             action="export the complete series, reconstructed without tilt and with one slice "
                             f"spacing, or give {' and '.join(fault.mend for fault in faults)}", subject=subject)
        slices = regular_grid_of(positions, directions, (column_spacing, row_spacing), (first.columns, first.rows),
                                 even=uneven is None, sheared=sheared is not None)
        _refuse_invention(slices, positions, along_mm, directions, subject)
        notes = [f"resampled to {slices.grid.spacing_mm_ijk[2]:.3f} mm along the slices' normal: {uneven.found}"
                 ] if uneven else []
        notes += [f"tilt corrected: {sheared.found}"] if sheared else []
        return SeriesGeometry(ordered, slices.grid, notes, slices,
                              _shear_deg(positions, along_mm, directions) if sheared else None)
    grid = Grid(size_ijk=(first.columns, first.rows, len(planes)),
                # PixelSpacing gives the distance between rows first, that is along j.
                spacing_mm_ijk=(column_spacing, row_spacing, spacing_mm),
                origin_mm_lps=(float(positions[0, 0]), float(positions[0, 1]), float(positions[0, 2])),
                direction=tuple(float(value) + 0.0 for value in directions.ravel()))
    tilt = first.tags.gantry_tilt_deg
    notes = [f"the header names a gantry tilt of {tilt:g} degrees, but the slices are not sheared"] if tilt else []
    return SeriesGeometry(ordered, grid, notes)


def _refuse_missing(planes: Sequence[SliceHeader], subject: str) -> None:
    for name, holds in (
        ("position (ImagePositionPatient)", lambda plane: _finite(plane.position_mm)),
        ("orientation (ImageOrientationPatient)", lambda plane: _finite(plane.orientation)),
        ("pixel spacing (PixelSpacing)", lambda plane: _finite(plane.pixel_spacing_mm)),
        ("rescale slope and intercept", lambda plane: _finite((plane.slope, plane.intercept)) and plane.slope != 0),
    ):
        missing = sum(not holds(plane) for plane in planes)
        if missing:
            raise FemurError(f"{missing} of {len(planes)} slices without a valid {name}", expected="it in every slice",
                             action="export the original series with complete headers", subject=subject)
    other_units = sum(plane.rescale_type not in (None, "HU", "US") for plane in planes)
    if other_units:
        raise FemurError(f"{other_units} of {len(planes)} slices whose rescaled values are not in HU",
                         expected="rescale type HU", action="export the conventional CT reconstruction",
                         subject=subject)


def _finite(values: tuple[float | None, ...] | None) -> bool:
    return values is not None and all(value is not None and np.isfinite(value) for value in values)


def _checked_directions(planes: Sequence[SliceHeader], subject: str) -> NDArray[np.float64]:
    """Return the 3 x 3 direction matrix (columns: along a row, along a column, normal) of all planes."""
    cosines = np.array([plane.orientation for plane in planes])
    spread = float(np.ptp(cosines, axis=0).max())
    if spread > COSINE_TOLERANCE:
        raise FemurError(f"slices turned against each other (direction cosines differ by up to {spread:.4f})",
                         expected=f"one orientation, to {COSINE_TOLERANCE:g}",
                         action="give one series; slices of several stacks do not make a volume", subject=subject)
    row, column = cosines[0, :3], cosines[0, 3:]
    if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > ORTHONORMAL_TOLERANCE:
        raise FemurError("direction cosines that are no unit vectors at a right angle",
                         expected="a valid ImageOrientationPatient", action="export the series again",
                         subject=subject)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def _refuse_duplicates(ordered: list[SliceHeader], along_mm: NDArray[np.float64], subject: str) -> None:
    close = np.diff(along_mm) < DUPLICATE_MM
    if not close.any():
        return
    named = [(plane.instance_uid, plane.frame) for plane in ordered if plane.instance_uid]
    copies = len(named) - len(set(named))
    detail = f", {copies} of them copies of the same instance" if copies else ""
    raise FemurError(f"{len(ordered)} slices at only {len(ordered) - int(close.sum())} position(s){detail}",
                     expected="one slice a position",
                     action="keep one reconstruction (one time point) in the folder and remove the copies",
                     subject=subject)


def _spacing_fault(along_mm: NDArray[np.float64], spacing_mm: float) -> _Fault | None:
    tolerance_mm = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_FRACTION * spacing_mm)
    regular = along_mm[0] + spacing_mm * np.arange(along_mm.size)
    if np.abs(along_mm - regular).max() <= tolerance_mm:
        return None
    gaps = np.diff(along_mm)
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_FRACTION * usual))
    listed = [_describe_gap(int(index), float(gaps[index]), usual) for index in odd[:_LISTED_GAPS]]
    if odd.size > _LISTED_GAPS:
        listed.append(f"and {odd.size - _LISTED_GAPS} more")
    return _Fault(f"uneven slice spacing: usually {usual:.2f} mm, from {gaps.min():.2f} to {gaps.max():.2f} mm "
                  f"({', '.join(listed)})", f"slices within {tolerance_mm:.2f} mm of a regular grid",
                  "--resample-irregular")


def _describe_gap(index: int, gap_mm: float, usual_mm: float) -> str:
    missing = round(gap_mm / usual_mm) - 1
    whole = abs(gap_mm - (missing + 1) * usual_mm) <= SPACING_TOLERANCE_FRACTION * usual_mm * (missing + 1)
    hint = f", {missing} slice(s) missing" if missing > 0 and whole else ""
    return f"{gap_mm:.2f} mm after slice {index + 1}{hint}"


def _slides_mm(positions: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each plane has slid within itself against the first one, as vectors (planes, 3)."""
    shifts = positions - positions[0]
    return np.asarray(shifts - np.outer(shifts @ directions[:, 2], directions[:, 2]))


def _shear_deg(positions: NDArray[np.float64], along_mm: NDArray[np.float64],
               directions: NDArray[np.float64]) -> float:
    drift_mm = float(np.linalg.norm(_slides_mm(positions, directions)[-1]))
    return float(np.degrees(np.arctan2(drift_mm, along_mm[-1] - along_mm[0])))


def _shear_fault(positions: NDArray[np.float64], along_mm: NDArray[np.float64],
                 directions: NDArray[np.float64]) -> _Fault | None:
    """Return the fault of planes whose origins do not follow the normal."""
    largest_mm = float(np.linalg.norm(_slides_mm(positions, directions), axis=1).max())
    if largest_mm <= SHEAR_TOLERANCE_MM:
        return None
    return _Fault(f"slices sheared by {_shear_deg(positions, along_mm, directions):.1f} degrees (gantry tilt): they "
                  f"slide by {largest_mm:.1f} mm within their plane over the series",
                  f"slice positions along the slices' normal, within {SHEAR_TOLERANCE_MM} mm", "--correct-tilt")


def _refuse_invention(slices: SlicePositions, positions: NDArray[np.float64], along_mm: NDArray[np.float64],
                      directions: NDArray[np.float64], subject: str) -> None:
    """Refuse series whose mending would be mostly invention, and grids that no memory holds."""
    gaps = np.diff(along_mm)
    n_target = slices.grid.size_ijk[2]
    if gaps.max() > LARGEST_BRIDGED_GAP_MM + SPACING_TOLERANCE_MM:
        raise FemurError(f"a gap of {gaps.max():.2f} mm between slices",
                         expected=f"gaps of at most {LARGEST_BRIDGED_GAP_MM:g} mm to be bridged",
                         action="export the complete series", subject=subject)
    if n_target > LARGEST_REFINEMENT * along_mm.size or np.prod(slices.grid.size_ijk, dtype=float) > MAXIMUM_VOXELS:
        raise FemurError(f"a finest slice spacing of {gaps.min():.3f} mm, which would make {along_mm.size} slices "
                         f"{n_target}", expected=f"at most {LARGEST_REFINEMENT} times as many slices",
                         action="remove the slices that lie almost at one position", subject=subject)
    slides = _slides_mm(positions, directions)
    straight = np.outer((along_mm - along_mm[0]) / (along_mm[-1] - along_mm[0]), slides[-1])
    off_mm = float(np.linalg.norm(slides - straight, axis=1).max())
    if off_mm > TILT_STRAIGHTNESS_MM:
        raise FemurError(f"slices that slide within their plane by up to {off_mm:.1f} mm off a straight line",
                         expected="the even slide of a tilted gantry", action="export the series again",
                         subject=subject)
