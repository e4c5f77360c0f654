"""What lies under and beside a person: table, mattress, phantom, arms; and contrast medium within."""

from __future__ import annotations

import numpy as np

from femur_nnunet.phantom.anatomy import SIDES, Participant, SideName
from femur_nnunet.phantom.arms import Arm
from femur_nnunet.phantom.body_shape import CENTRE_BEHIND_HEADS_MM
from femur_nnunet.phantom.calibration import ROD_DENSITIES_MG_CC, ROD_DISTANCE_MM, DensityUnit
from femur_nnunet.phantom.contrast import ContrastMedium
from femur_nnunet.phantom.render import FLATTENED_BACK_MM
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.phantom.underlay import FreeUnderlay, Rod, Slab, Table
from femur_nnunet.randomised.ranges import Drawer

_PAD_MARGIN_MM = 4.0


def draw_underlay(drawer: Drawer, person: Participant) -> FreeUnderlay:
    """Draw table, mattress and calibration phantom, each of which may be absent."""
    back = CENTRE_BEHIND_HEADS_MM + person.body.half_depth_mm - FLATTENED_BACK_MM
    shift = float(drawer.rng.uniform(-25, 25))
    has_mattress, mattress_mm, mattress_hu = drawer("mattress"), drawer("mattress_mm"), drawer("mattress_hu")
    below = back + (mattress_mm if has_mattress else 0.0)
    half_width = drawer("table_half_width_mm")
    has_table = drawer("table")
    table = Table((shift, below), half_width, drawer("table_thickness_mm"), drawer("table_shell_mm"),
                  drawer("table_rise_mm"), drawer("table_shell_hu"), drawer("table_foam_hu"))
    mattress = Slab((shift, back + mattress_mm / 2), 0.95 * half_width, mattress_mm / 2, mattress_hu)
    slabs = [mattress] if has_mattress else []
    unit: DensityUnit = drawer("phantom_unit")
    rods: list[Rod] = []
    has_phantom, at = drawer("phantom"), drawer("phantom_shift_mm")
    radius, depth, pad_hu = drawer("phantom_rod_radius_mm"), drawer("phantom_depth_mm"), drawer("phantom_pad_hu")
    if has_phantom:
        densities = [float(value) for value in drawer.rng.permutation(ROD_DENSITIES_MG_CC[unit])]
        step = ROD_DISTANCE_MM * radius / 9.0
        height = back + radius + _PAD_MARGIN_MM + depth
        slabs.append(Slab((at, height), step * len(densities) / 2 + 6.0, radius + _PAD_MARGIN_MM, pad_hu))
        rods = [Rod((at + step * (number - (len(densities) - 1) / 2), height), radius, density)
                for number, density in enumerate(densities)]
    return FreeUnderlay(unit, back, table if has_table else None, tuple(slabs), tuple(rods))


def draw_arms(drawer: Drawer, person: Participant, scanner: ScannerTier) -> list[Arm]:
    """Draw which forearms lie in the field, and where."""
    arms = []
    for side in SIDES:
        shown, over = drawer(f"arm_{side}"), drawer("arm_over_body", f"arm_{side}_over_body")
        values = [drawer(name, f"{name[:4]}{side}_{name[4:]}") for name in
                  ("arm_radius_mm", "arm_gap_mm", "arm_wrist_above_heads_mm")]
        wobble = drawer.rng.normal(0.0, 0.12, size=4)
        if shown:
            arms.append(_arm(person, scanner, side, over, values, wobble))
    return arms


def _arm(person: Participant, scanner: ScannerTier, side: SideName, over: bool, values: list[float],
         wobble: np.ndarray) -> Arm:
    radius, gap, height = values
    body, outwards = person.body, 1.0 if side == "left" else -1.0
    if over:
        # The hand lies on the belly, its palm down; the forearm comes from the flank.
        front = CENTRE_BEHIND_HEADS_MM - body.half_depth_mm
        wrist = np.array([outwards * 0.45 * body.half_width_mm, front - 0.62 * radius - max(gap, 0.0),
                          max(height, 40.0)])
        along = np.array([-outwards * 0.85, -0.05 + 0.3 * wobble[0], -0.5 + wobble[1]])
        across = np.array([0.0, 0.0, 1.0])
    else:
        wrist = np.array([outwards * (body.half_width_mm + gap + 0.7 * radius),
                          CENTRE_BEHIND_HEADS_MM + 30.0 * wobble[2], height])
        along = np.array([wobble[0], wobble[1], -1.0])
        across = np.array([wobble[3], 1.0, 0.0])
    along = along / np.linalg.norm(along)
    across = across - (across @ along) * along
    across /= np.linalg.norm(across)
    hu = scanner.hu_per_mg_cc_k2hpo4
    return Arm(wrist, along, across, radius, min(0.25 * body.fat_mm, 9.0), body.fat_hu + scanner.hu_of_fat_shift,
               body.muscle_hu, hu * person.bone.cortical_mg_cc, hu * 0.7 * person.bone.marrow_mg_cc)


def draw_contrast(drawer: Drawer) -> ContrastMedium:
    """Draw contrast medium in urine, vessels and bowel."""
    urine, urine_hu = drawer("bladder_contrast"), drawer("bladder_contrast_hu")
    blood, artery, vein = drawer("vessel_contrast"), drawer("artery_contrast_hu"), drawer("vein_contrast_hu")
    bowel, bowel_hu = drawer("bowel_contrast"), drawer("bowel_contrast_hu")
    return ContrastMedium(urine_hu if urine else None, artery if blood else 0.0, vein if blood else 0.0,
                          bowel_hu if bowel else 0.0)
