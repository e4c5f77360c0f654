"""Checks on the headers of a DICOM series; each is told apart although the reader refuses at the first one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.dataset_conversion.preflight.findings import Finding, go, look, stop
from femur_nnunet.volume_io.dicom_geometry import (
    COSINE_TOLERANCE,
    DUPLICATE_MM,
    SHEAR_TOLERANCE_MM,
    SPACING_TOLERANCE_FRACTION,
    SPACING_TOLERANCE_MM,
)
from femur_nnunet.volume_io.dicom_headers import SliceHeader
from femur_nnunet.volume_io.dicom_series import MINIMUM_SLICES, FolderContent

# Slices further apart than they are thick leave tissue unseen; a tenth is rounding in headers.
LARGEST_SPACING_PER_THICKNESS = 1.1
# An axial series has its normal near the body's long axis; beyond 45 degrees it is coronal or sagittal.
LARGEST_TURN_DEG = 45.0
_LISTED_GAPS = 6
_EXPORT_AGAIN = "export the original axial CT series again"


def check_modality(content: FolderContent) -> Finding:
    """Stop where no CT slice is in the folder: MR, secondary captures, dose pages, or nothing."""
    if content.series:
        others = [f"{count} file(s) of modality {name} beside it" for name, count in sorted(content.modalities.items())]
        return go("modality", ", ".join(["CT", *others]))
    found = [f"{count} file(s) of modality {name}" for name, count in sorted(content.modalities.items())]
    found += [f"{count} {reason} file(s)" for reason, count in sorted(content.skipped.items())]
    return stop("modality", f"{', '.join(found) or 'no DICOM file'}; expected CT slices",
                "give the folder of the reconstructed CT series")


def check_series(content: FolderContent) -> Finding:
    """Look where a folder holds several CT series, since a rule chose one of them; stop at broken files."""
    if content.n_broken:
        return stop("series", f"{content.n_broken} damaged or truncated file(s); a lost slice shortens the scan",
                    "copy or export the series again")
    if len(content.series) > 1:
        counts = sorted((len(planes) for planes in content.series.values()), reverse=True)
        return look("series", f"{len(counts)} CT series of {', '.join(map(str, counts))} slices in one folder",
                    "keep the series to be used alone, or see that the one with most slices is meant")
    return go("series")


def largest_series(content: FolderContent) -> list[SliceHeader]:
    """Return the planes that header checks look at: those of the series with most slices."""
    return max(content.series.values(), key=len, default=[])


def check_rescale(planes: Sequence[SliceHeader]) -> Finding:
    """Stop where slope or intercept is missing: stored numbers are then no HU."""
    missing = sum(plane.slope is None or plane.intercept is None or plane.slope == 0 for plane in planes)
    if missing:
        return stop("rescale", f"{missing} of {len(planes)} slices without rescale slope and intercept",
                    "export the series with complete headers")
    pairs = {(plane.slope, plane.intercept) for plane in planes}
    return go("rescale", f"{len(pairs)} different pairs, each applied to its own slice" if len(pairs) > 1 else "")


def check_units(planes: Sequence[SliceHeader]) -> Finding:
    """Stop where the rescaled values are said to be something else than HU (density maps, dual energy)."""
    odd = sum(plane.rescale_type not in (None, "HU", "US") for plane in planes)
    if odd:
        return stop("units", f"{odd} of {len(planes)} slices whose rescaled values are not in HU",
                    "export the conventional CT reconstruction")
    return go("units", "HU" if all(plane.rescale_type == "HU" for plane in planes) else "unit not stated, HU assumed")


def check_slice_positions(planes: Sequence[SliceHeader]) -> Finding:
    """Stop at missing positions, too few slices, duplicates, gaps and uneven spacing; say if the order is reversed."""
    along = _along_mm(planes)
    if along is None:
        return stop("slice positions", "slices without position or orientation", _EXPORT_AGAIN)
    if along.size < MINIMUM_SLICES:
        return stop("slice positions", f"{along.size} slice(s), expected at least {MINIMUM_SLICES}",
                    "export the whole series")
    gaps = np.diff(np.sort(along))
    copies = int((gaps < DUPLICATE_MM).sum())
    if copies:
        return stop("slice positions", f"{along.size} slices at {along.size - copies} position(s)",
                    "keep one reconstruction (one time point) in the folder and remove the copies")
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_FRACTION * usual))
    if odd.size:
        listed = [f"{gaps[index]:.2f} mm after slice {index + 1}" for index in odd[:_LISTED_GAPS]]
        more = [f"{odd.size - _LISTED_GAPS} more"] if odd.size > _LISTED_GAPS else []
        return stop("slice positions", f"uneven spacing: usually {usual:.2f} mm, from {gaps.min():.2f} to "
                    f"{gaps.max():.2f} mm ({', '.join([*listed, *more])})",
                    "export the complete series with one slice spacing, or convert with --resample-irregular")
    reversed_order = along.size > 1 and bool((np.diff(along) < 0).all())
    return go("slice positions", f"{along.size} slices, {usual:.3g} mm apart"
              + (", stored in reversed order" if reversed_order else ""))


def check_slice_thickness(planes: Sequence[SliceHeader]) -> Finding:
    """Look where slices lie further apart than they are thick: tissue between them was not seen."""
    along = _along_mm(planes)
    thickness = planes[0].tags.slice_thickness_mm
    if along is None or along.size < 2 or not thickness:
        return go("slice thickness")
    usual = float(np.median(np.diff(np.sort(along))))
    if usual > LARGEST_SPACING_PER_THICKNESS * thickness:
        return look("slice thickness", f"slices {thickness:g} mm thick lie {usual:.2f} mm apart",
                    "use a reconstruction without gaps if there is one")
    return go("slice thickness", f"{thickness:g} mm thick, {usual:.3g} mm apart")


def check_gantry_tilt(planes: Sequence[SliceHeader]) -> Finding:
    """Stop where slices slide within their plane (a sheared volume); look at a tilt that only the header names."""
    tilt = planes[0].tags.gantry_tilt_deg or 0.0
    directions = _directions(planes)
    slide_mm = 0.0
    if directions is not None and all(plane.position_mm is not None for plane in planes):
        positions = np.array([plane.position_mm for plane in planes], dtype=np.float64)
        shifts = positions - positions[0]
        slide_mm = float(np.linalg.norm(shifts - np.outer(shifts @ directions[2], directions[2]), axis=1).max())
    if slide_mm > SHEAR_TOLERANCE_MM:
        named = f", gantry tilt {tilt:g} degrees in the header" if tilt else ""
        return stop("gantry tilt", f"slices slide by {slide_mm:.1f} mm within their plane over the series{named}",
                    "export a series without tilt, or convert with --correct-tilt")
    if tilt:
        return look("gantry tilt", f"the header names a tilt of {tilt:g} degrees but the slices are not sheared",
                    "see in the thumbnails that the anatomy is not oblique")
    return go("gantry tilt")


def check_orientation(planes: Sequence[SliceHeader]) -> Finding:
    """Stop at slices turned against each other and at series that are not axial."""
    if any(plane.orientation is None for plane in planes):
        return stop("orientation", "slices without orientation", _EXPORT_AGAIN)
    cosines = np.array([plane.orientation for plane in planes], dtype=np.float64)
    spread = float(np.ptp(cosines, axis=0).max())
    if spread > COSINE_TOLERANCE:
        return stop("orientation", f"slices turned against each other (direction cosines differ by {spread:.4f})",
                    "give one series; slices of several stacks do not make a volume")
    directions = _directions(planes)
    normal_z = 0.0 if directions is None else abs(float(directions[2, 2]))
    turn = float(np.degrees(np.arccos(min(1.0, normal_z))))
    if turn > LARGEST_TURN_DEG:
        return stop("orientation", f"slices turned by {turn:.0f} degrees from axial", _EXPORT_AGAIN)
    return go("orientation", f"axial, turned by {turn:.1f} degrees" if turn > 0.05 else "axial")


def _directions(planes: Sequence[SliceHeader]) -> NDArray[np.float64] | None:
    """Return row direction, column direction and normal as rows."""
    orientation = planes[0].orientation
    if orientation is None:
        return None
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    normal = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    return None if length < 1e-6 else np.stack([row, column, normal / length])


def _along_mm(planes: Sequence[SliceHeader]) -> NDArray[np.float64] | None:
    directions = _directions(planes)
    if directions is None or any(plane.position_mm is None for plane in planes):
        return None
    return np.array([plane.position_mm for plane in planes], dtype=np.float64) @ directions[2]


HEADER_CHECKS = (check_rescale, check_units, check_slice_positions, check_slice_thickness, check_gantry_tilt,
                 check_orientation)
