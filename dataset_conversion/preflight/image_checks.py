"""Checks on the voxels of a scan: values, hips in view, laterality, metal, calibration."""

from __future__ import annotations

import numpy as np

from femur_nnunet.calibration.scan_calibration import ScanCalibration
from femur_nnunet.calibration.tissue import TissuePeaks
from femur_nnunet.cohort import Side
from femur_nnunet.dataset_conversion.preflight.findings import Finding, go, look, stop
from femur_nnunet.volume_io.hip_search import HipsInView
from femur_nnunet.volume_io.metal import METAL_HU, find_metal
from femur_nnunet.volume_io.volume import Grid, Volume

# Beyond 3 mm the partial volume of the cortex (2 to 6 mm thick) decides its density.
LARGEST_SLICE_SPACING_MM = 3.0
# Cortex and joint gap (2 to 4 mm) are lost in larger pixels.
LARGEST_PIXEL_MM = 1.5
# An oblique grid is kept as it is; beyond this the left-right flip of right hips is visibly oblique too.
LARGEST_OBLIQUE_DEG = 10.0
# Peaks at 80 to 140 kVp: air -1000 with acceptance limits and drift, fat -130 to -80, muscle 30 to 75; margins for
# miscalibrated scanners. Contrast medium lifts muscle.
AIR_PEAK_HU, FAT_PEAK_HU, MUSCLE_PEAK_HU = (-1030.0, -970.0), (-135.0, -70.0), (20.0, 85.0)
# A missing rescale shifts everything by 1000 or more; nothing else does by half of that.
GROSS_SHIFT_HU = 100.0
# The shaft of the regions that the field reports begins about 72 mm below the head's centre (landmarks); the level of
# the joint is known to 20 mm.
LEAST_BELOW_JOINT_MM = 85.0
# A head reaches 20 to 29 mm above its centre; the level found lies up to 20 mm above it.
LEAST_ABOVE_JOINT_MM = 12.0
# Neck and offset put the head 35 to 60 mm medially of the shaft.
LEAST_OFFSET_MM = 15.0


def check_voxel_spacing(grid_lps: Grid) -> Finding:
    """Look at slices or pixels too coarse for the cortex."""
    x, y, z = grid_lps.spacing_mm_ijk
    found = f"{x:.3g} x {y:.3g} x {z:.3g} mm"
    if z > LARGEST_SLICE_SPACING_MM + 0.05 or max(x, y) > LARGEST_PIXEL_MM + 0.005:
        return look("voxel spacing", f"voxels of {found}, expected pixels up to {LARGEST_PIXEL_MM:g} and slices up to "
                    f"{LARGEST_SLICE_SPACING_MM:g} mm", "use a finer reconstruction if there is one")
    return go("voxel spacing", found)


def check_grid_orientation(grid_lps: Grid) -> Finding:
    """Look at grids turned far against the patient's axes."""
    turn = float(np.degrees(np.arccos(np.clip(np.diag(grid_lps.direction_matrix).min(), -1, 1))))
    if turn > LARGEST_OBLIQUE_DEG:
        return look("orientation", f"a grid turned by {turn:.0f} degrees against the patient's axes",
                    "use the axial reconstruction if there is one")
    return go("orientation", f"turned by {turn:.1f} degrees" if turn > 0.05 else "along the patient's axes")


def check_hounsfield(peaks: TissuePeaks) -> Finding:
    """Look at peaks of air, fat and muscle away from where CT has them; stop where all are shifted grossly."""
    table = (("air", peaks.air, AIR_PEAK_HU), ("fat", peaks.fat, FAT_PEAK_HU), ("muscle", peaks.muscle,
                                                                              MUSCLE_PEAK_HU))
    shown = ", ".join(f"{name} {'not in view' if value is None else f'{value:.0f}'}" for name, value, _ in table)
    odd = [(name, value, limits) for name, value, limits in table
           if value is not None and not limits[0] <= value <= limits[1]]
    if peaks.fat is None and peaks.muscle is None:
        return stop("hounsfield", f"no peak of fat and none of muscle ({shown})",
                    "check rescale and unit: the values do not look like HU")
    if any(value < limits[0] - GROSS_SHIFT_HU or value > limits[1] + GROSS_SHIFT_HU for _, value, limits in odd):
        return stop("hounsfield", f"peaks far from HU ({shown})", "check rescale and unit")
    if odd or peaks.fat is None or peaks.muscle is None:
        expected = ", ".join(f"{name} {limits[0]:.0f} to {limits[1]:.0f}" for name, _, limits in table)
        return look("hounsfield", f"peaks in HU: {shown}; expected {expected}",
                    "check contrast medium, the scanner's calibration and the unit")
    return go("hounsfield", f"peaks in HU: {shown}")


def check_hip_in_view(hips: HipsInView) -> Finding:
    """Stop where nothing looks like a hip: a sound series of another part of the body."""
    sides = [hips.left] if hips.right is None else [hips.left, hips.right]
    if any(hip.found for hip in sides):
        return go("hip in view")
    return stop("hip in view", "no hip: neither a hip joint nor a femoral shaft on either side",
                "give the series of the hips; a scan that shows one after all can be converted without --check")


def check_field_of_view(hips: HipsInView, side: Side) -> Finding:
    """Look at a head or shaft that the image cuts, and at a side that is missing."""
    if not any(hip.found for hip in (hips.left, hips.right) if hip is not None):
        return go("field of view", "not judged without a hip")
    wanted = ("left", "right") if side == "both" and not hips.one_hip else (side,)
    faults = []
    if side == "both" and hips.one_hip:
        faults.append("one hip in view, the table says both")
    for name in wanted:
        hip, called = hips.of(name), f"{name} femur" if name != "both" else "femur"
        if not hip.found:
            faults.append(f"no {called}")
            continue
        if hip.joint_level_mm is None:
            faults.append(f"{called}: head not in view, or cut above")
            continue
        below, above = hip.joint_level_mm, hips.height_mm - hip.joint_level_mm
        if below < LEAST_BELOW_JOINT_MM:
            faults.append(f"{called}: shaft cut, the image ends {below:.0f} mm below the joint's level (expected at "
                          f"least {LEAST_BELOW_JOINT_MM:.0f})")
        if above < LEAST_ABOVE_JOINT_MM:
            faults.append(f"{called}: head cut, the image ends {above:.0f} mm above the joint's level (expected at "
                          f"least {LEAST_ABOVE_JOINT_MM:.0f})")
        if hip.touches_side:
            faults.append(f"{called}: the joint runs into the image's left or right border")
    if faults:
        return look("field of view", "; ".join(faults), "use a series that covers the whole proximal femur, correct "
                    "the side in the table, or leave the hip out")
    return go("field of view")


def check_laterality(hips: HipsInView, side: Side) -> Finding:
    """Stop where a single hip in view is of the other side than the table says.

    A femur's head lies medially of its shaft; two hips in view are told apart by position alone.
    """
    if side == "both" or not hips.one_hip:
        return go("laterality", "two hips in view, told apart by position" if not hips.one_hip else "not judged")
    hip = hips.left
    if hip.joint_x_mm is None or hip.shaft_x_mm is None or abs(hip.shaft_x_mm - hip.joint_x_mm) < LEAST_OFFSET_MM:
        return look("laterality", "one hip in view whose side cannot be seen (no head with a shaft beside it)",
                    "check the side by eye")
    seen = "left" if hip.shaft_x_mm > hip.joint_x_mm else "right"
    if seen != side:
        return stop("laterality", f"the femur in view is a {seen} one, the table says {side}",
                    "correct the side in the table, or the image's orientation")
    return go("laterality", f"a {seen} femur")


def check_metal(volume_lps: Volume, midline_x: float | None) -> Finding:
    """Look at metal: streaks falsify HU, and an implant takes the place of bone."""
    metal = find_metal(volume_lps, midline_x)
    if not metal.sides:
        return go("metal")
    where = "" if midline_x is None else " on the " + " and ".join(metal.sides)
    return look("metal", f"{metal.volume_ml:.1f} ml above {METAL_HU:g} HU{where}",
                "leave the hip with metal out, or accept streaks and wrong densities near it")


def check_calibration(scale: ScanCalibration) -> Finding:
    """Look at a density scale that the rods contradict, or rods that were named and are not there."""
    parts = []
    if scale.calibration is None:
        parts.append("no density scale: segmentation is possible, density is not")
    else:
        line = scale.calibration
        parts.append(f"{line.slope:.4f} mg/cc per HU, {line.intercept:+.1f} mg/cc {line.unit}, from the {scale.source}")
    if scale.r2 is not None and scale.se_mg_cc is not None:
        parts.append(f"R2 {scale.r2:.5f}, standard error {scale.se_mg_cc:.2f} mg/cc")
    if scale.phantom:
        parts.append(f"rods of {scale.phantom} found")
    if scale.warnings:
        return look("calibration", "; ".join([*parts, *scale.warnings]),
                    "check phantom and slope in the table (docs/calibration.md)")
    return go("calibration", "; ".join(parts))
