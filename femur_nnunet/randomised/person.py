"""Who is rendered: a subject's bones, varied, in a body of any build, and how that body lies."""

from __future__ import annotations

from dataclasses import replace

from femur_nnunet.phantom.anatomy import SIDES, JointSpace, Participant, Sex, draw_participant, with_findings
from femur_nnunet.phantom.anatomy_file import load_anatomy
from femur_nnunet.phantom.findings import Findings
from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.phantom.mapped_bones import with_bones_of
from femur_nnunet.phantom.pose import LegPose, Pose
from femur_nnunet.phantom.tiers import PopulationTier
from femur_nnunet.randomised.ranges import Drawer


def draw_person(drawer: Drawer, prepared: PreparedMap) -> Participant:
    """Draw a person who has the bones of a label map, warped and brought to another size."""
    rng = drawer.rng
    sex: Sex = "F" if rng.random() < 0.5 else "M"
    size = drawer("bone_size_factor")
    population = PopulationTier(
        age_mean_years=drawer("age_years"), age_sd_years=0.0, trabecular_factor=drawer("trabecular_factor"),
        cortex_factor=drawer("cortex_factor"), cortical_density_factor=drawer("cortical_density_factor"),
        bone_size_factor=size, body_size_factor=drawer("body_size_factor"), fat_factor=drawer("fat_factor"),
        osteoarthritis_share=0.0, osteoporosis_share=0.0, implant_share=0.0, calcified_vessels_share=0.0,
        bladder_contrast_share=0.0)
    person = draw_participant(sex, population, rng)
    bone = replace(
        person.bone, head_trabecular_mg_cc=person.bone.head_trabecular_mg_cc * drawer("head_trabecular_factor"),
        cortex_head_mm=drawer("head_plate_mm"), head_plate_spread=drawer("head_plate_spread"),
        head_rim_rise=drawer("head_rim_rise"), cup_plate_factor=drawer("cup_plate_factor"),
        texture_share=drawer("texture_share"), marrow_mg_cc=drawer("marrow_mg_cc"))
    joint = JointSpace(drawer("cartilage_hu"), drawer("joint_narrowing_mm"), drawer("bone_clearance_mm"))
    body = replace(person.body, fat_hu=drawer("fat_hu"), muscle_hu=drawer("muscle_hu"),
                   muscle_mass=drawer("muscle_mass"), fat_infiltration=drawer("fat_infiltration"))
    person = replace(person, bone=bone, body=body, joint=joint, pelvic_tilt_deg=drawer("pelvic_tilt_deg"))
    person = with_findings(person, draw_findings(drawer))
    return with_bones_of(person, prepared, load_anatomy(), rng, bone_size_factor=size, warp_sd_mm=drawer("warp_sd_mm"))


def draw_findings(drawer: Drawer) -> Findings:
    """Draw disease and metal; both may be in one person, though not in the same joint."""
    worn, metal, calcified = drawer("osteoarthritis"), drawer("metal"), drawer("calcified_vessels")
    first, second, kind = (bool(drawer.rng.random() < share) for share in (0.5, 0.5, 0.5))
    metal_side = SIDES[0] if first else SIDES[1]
    worn_side = SIDES[0] if second else SIDES[1]
    return Findings(
        osteoarthritis=worn_side if worn and not (metal and worn_side == metal_side) else None,
        implant=("nail" if kind else "prosthesis") if metal else None,
        implant_side=metal_side if metal else None, calcified_vessels=calcified)


def draw_lying(drawer: Drawer) -> Pose:
    """Draw how the person lies; the point between the heads is the world's origin."""
    legs = {side: LegPose(*(drawer(f"leg_{turn}_deg", f"{side}_leg_{turn}_deg")
                            for turn in ("rotation", "abduction", "flexion"))) for side in SIDES}
    return Pose(drawer("body_yaw_deg"), drawer("body_roll_deg"), (0.0, 0.0, 0.0), legs,
                drawer("top_above_heads_mm"))
