"""How a person is scanned: scanner, field of view, slices, and the grid that is rendered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from femur_nnunet.phantom.anatomy import Participant, SideName
from femur_nnunet.phantom.body_shape import CENTRE_BEHIND_HEADS_MM
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import RenderGrid
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.randomised.ranges import Drawer
from femur_nnunet.volume_io.volume import Grid

# HU of 1 mg/cc K2HPO4 and the ratio of both materials by tube voltage: the tiers file's values between which
# is interpolated.
_KVP = (80.0, 120.0, 140.0)
_HU_PER_MG_CC = (1.85, 1.35, 1.18)
_K2HPO4_PER_HA = (0.86, 0.83, 0.81)
LEAST_THICKNESS_MM, LARGEST_THICKNESS_MM = 0.6, 6.0
# Fine slices thinner than this are one step: the slice profile is then in the voxel's own box.
LONGEST_STEP_MM = 2.6
# One hip's field reaches this far beyond the midline: never to the other femur.
BEYOND_MIDLINE_MM = 18.0


def draw_scanner(drawer: Drawer) -> ScannerTier:
    """Draw a scanner, its kernel and its dose."""
    kvp = drawer("kvp")
    return ScannerTier(
        manufacturer="SYNTHETIC", model="RANDOMISED", kernel="RANDOM", kvp=kvp,
        hu_per_mg_cc_k2hpo4=float(np.interp(kvp, _KVP, _HU_PER_MG_CC)) * drawer("hu_per_mg_cc_factor"),
        k2hpo4_per_ha=float(np.interp(kvp, _KVP, _K2HPO4_PER_HA)), psf_fwhm_mm=drawer("psf_fwhm_mm"),
        edge_enhancement=drawer("edge_enhancement"), slice_spacing_factor=1.0, slice_thickness_factor=1.0,
        pixel_spacing_factor=1.0, noise_hu=drawer("noise_hu"), hu_scale=drawer("hu_scale"),
        hu_offset=drawer("hu_offset"), bone_saturation_per_1000_hu=drawer("bone_saturation_per_1000_hu"),
        beam_hardening_hu=drawer("beam_hardening_hu"), padding_hu=drawer("padding_hu"),
        hu_of_fat_shift=drawer("fat_shift_hu"), current_modulation=drawer("current_modulation"),
        hu_drift_per_100_mm=drawer("hu_drift_per_100_mm"), field_of_view_factor=drawer("field_of_view_factor"))


def draw_grid(drawer: Drawer, person: Participant, pose: Pose, *, finest_mm: float) -> RenderGrid:
    """Draw spacing, thickness and field of view, and lay the grid that is rendered.

    Parameters
    ----------
    drawer : Drawer
        Source of the draws.
    person, pose
        Who lies where.
    finest_mm : float
        Voxels are rendered no finer than this. Where the scan is finer, a voxel averages over the scan's own
        small voxel and its neighbours are left out: just what is left after a network's preprocessing has
        taken the scan to its spacing point by point.
    """
    pixel, spacing, thickness = _spacing(drawer)
    columns, rows = _field(drawer, person)
    step_xy, step_z = max(pixel, finest_mm), max(spacing, finest_mm)
    top, bottom = pose.scan_top_mm, -drawer("bottom_below_heads_mm")
    counts = tuple(round((high - low) / step) for (low, high), step in
                   ((columns, step_xy), (rows, step_xy), ((bottom, top), step_z)))
    middle = [(low + high) / 2 for low, high in (columns, rows)]
    origin = (round(middle[0] - (counts[0] - 1) / 2 * step_xy, 3), round(middle[1] - (counts[1] - 1) / 2 * step_xy, 3),
              round(top - (counts[2] - 1) * step_z, 3))
    grid = Grid((counts[0], counts[1], counts[2]), (round(step_xy, 6), round(step_xy, 6), round(step_z, 6)), origin)
    substeps = int(np.ceil(step_z / LONGEST_STEP_MM))
    fine_step = step_z / substeps
    one_step = substeps == 1 and thickness <= LONGEST_STEP_MM
    # In one step the voxel's own box is the slice profile; else the profile is averaged from fine slices.
    box_z = thickness if one_step else fine_step
    margin = 0 if one_step else max(0, int(np.ceil((thickness - step_z) / 2 / fine_step - 1e-9)))
    return RenderGrid(grid, substeps, margin, round(thickness, 4), (box_z, pixel, pixel))


def _spacing(drawer: Drawer) -> tuple[float, float, float]:
    """Return pixel, slice spacing and slice thickness in mm."""
    pixel, spacing = drawer("native_pixel_mm"), drawer("slice_spacing_mm")
    thickness = float(np.clip(spacing * drawer("thickness_over_spacing"), LEAST_THICKNESS_MM, LARGEST_THICKNESS_MM))
    copied, even = drawer("resampled_copy"), drawer("resampled_spacing_mm")
    return (even, even, max(even, 1.0)) if copied else (pixel, spacing, thickness)


def _field(drawer: Drawer, person: Participant) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the lowest and highest x, and y, of the image."""
    drawer("field")
    field, margin = field_of(drawer.drawn, person.findings.implant_side), drawer("field_margin_mm")
    shift, depth = drawer("field_shift_mm"), drawer("field_depth_mm")
    body = person.body
    # A field may cut the flank but not the greater trochanter, some 70 mm lateral of the head's centre.
    beside = max(body.half_width_mm + margin, person.head_distance_mm / 2 + 85.0)
    left, right = beside + shift, beside - shift
    across = {"pelvis": (-right, left), "left hip": (-BEYOND_MIDLINE_MM, left),
              "right hip": (-right, BEYOND_MIDLINE_MM)}[field]
    # Front to back: the femora lie within 85 mm of the heads' height.
    reach = body.half_depth_mm + max(depth, 85.0 - body.half_depth_mm)
    return across, (CENTRE_BEHIND_HEADS_MM - reach, CENTRE_BEHIND_HEADS_MM + reach + 25.0)


def field_of(drawn: Mapping[str, object], metal_side: SideName | None) -> str:
    """Return the field of view: that of one hip becomes the pelvis where the hip has metal, and so no mask."""
    field = str(drawn["field"])
    return "pelvis" if metal_side is not None and field == f"{metal_side} hip" else field


def shown_sides(field: str) -> tuple[SideName, ...]:
    """Return the sides that a field of view holds."""
    sides: dict[str, tuple[SideName, ...]] = {"left hip": ("left",), "right hip": ("right",)}
    return sides.get(field, ("left", "right"))
