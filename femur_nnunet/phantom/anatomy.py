"""Parameters of one synthetic participant and how they are drawn.

The distributions of femora and hips stand in ``anatomy_v1.json`` with the origin of each: most were measured
on the 22 pairs of hips in the label maps of MICCAI2022-155/AuToSeg (MIT licence), see docs/hip_anatomy.md.
Densities follow the ranges usual in QCT of the hip, not these maps, which hold none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from femur_nnunet.phantom.anatomy_file import AnatomyFile, load_anatomy
from femur_nnunet.phantom.findings import (
    NO_FINDINGS,
    OSTEOPOROSIS_CORTEX_FACTOR,
    OSTEOPOROSIS_TRABECULAR_FACTOR,
    WORN_GAP_FACTOR,
    Findings,
    draw_findings,
)
from femur_nnunet.phantom.tiers import PopulationTier
from femur_nnunet.phantom.tissue import CARTILAGE_HU

if TYPE_CHECKING:
    from femur_nnunet.phantom.bone_geometry import BoneGeometry

Sex = Literal["F", "M"]
SideName = Literal["left", "right"]
SIDES: tuple[SideName, SideName] = ("left", "right")
# Bone of both sides of a joint stays this far apart however a leg is turned or a joint is worn.
LEAST_CLEARANCE_MM = 1.8
# Standard deviation of the cortex's thickness over a bone's surface, as a share.
CORTEX_SPREAD = 0.16
_NOT_SCALED = ("joint_gap_mm", "bow_radius_mm")


@dataclass(frozen=True)
class FemurAnatomy:
    """Shape of one proximal femur; lengths in mm, angles in degrees."""

    head_radius_mm: float
    neck_shaft_angle_deg: float
    anteversion_deg: float
    offset_mm: float
    neck_half_minor_mm: float
    neck_half_major_mm: float
    shaft_radius_mm: float
    bow_radius_mm: float
    trochanter_height_mm: float
    trochanter_width_mm: float
    lesser_trochanter_mm: float
    joint_gap_mm: float


@dataclass(frozen=True)
class BoneTissue:
    """Density in mg/cc (K2HPO4 equivalent, as QCT sees it: marrow fat included) and cortex in mm."""

    cortical_mg_cc: float
    head_trabecular_mg_cc: float
    neck_trabecular_mg_cc: float
    trochanteric_trabecular_mg_cc: float
    marrow_mg_cc: float
    texture_share: float
    cortex_head_mm: float
    cortex_neck_mm: float
    cortex_trochanteric_mm: float
    cortex_shaft_mm: float
    # The head's subchondral plate: standard deviation of its thickness over the surface, as a share.
    head_plate_spread: float = CORTEX_SPREAD
    # Spongy bone just below the head's surface against its depth, as a share of the head's level; below 0 it fades.
    head_rim_rise: float = 0.28
    # Factor on the thickness of the cup's plate.
    cup_plate_factor: float = 1.0


@dataclass(frozen=True)
class BodyAnatomy:
    """Trunk, thighs and what lies in them; lengths in mm, tissue in HU at 120 kVp."""

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    skin_mm: float
    thigh_radius_mm: float
    fat_hu: float
    muscle_hu: float
    fat_infiltration: float
    bladder_radius_mm: float
    rectal_gas: bool
    # Factor on the thickness of every muscle; the old and the ill have less.
    muscle_mass: float = 1.0


@dataclass(frozen=True)
class JointSpace:
    """What lies between head and cup.

    Attributes
    ----------
    cartilage_hu : float
        Cartilage and fluid.
    narrowing_mm : float
        So much nearer does the cup come than the anatomy says.
    clearance_mm : float
        Bone of both sides keeps this far apart all the same.
    """

    cartilage_hu: float = CARTILAGE_HU
    narrowing_mm: float = 0.0
    clearance_mm: float = LEAST_CLEARANCE_MM


@dataclass(frozen=True)
class Participant:
    """Everything that belongs to a person and not to a scan."""

    sex: Sex
    age_years: int
    head_distance_mm: float
    pelvic_tilt_deg: float
    femora: dict[SideName, FemurAnatomy]
    bone: BoneTissue
    body: BodyAnatomy
    texture_seed: int
    findings: Findings = NO_FINDINGS
    joint: JointSpace = JointSpace()
    # Bones of a label map instead of the analytic ones; their landmarks stand in ``femora``.
    bones_from_map: BoneGeometry | None = None


def draw_participant(sex: Sex, population: PopulationTier, rng: np.random.Generator, *,
                     years_later: float = 0.0) -> Participant:
    """Draw one participant.

    Parameters
    ----------
    sex : {"F", "M"}
        Sex, which is decided by the cohort's design and not drawn here.
    population : PopulationTier
        Where the site's population differs from the source's.
    rng : numpy.random.Generator
        Source of every random number; the same state gives the same person.
    years_later : float
        Years since that person was first seen: the same bones with less in them, as age takes it.
    """
    woman = sex == "F"
    age = int(np.clip(round(rng.normal(population.age_mean_years, population.age_sd_years)), 30, 88))
    stature = float(rng.normal(0.0, 1.0))
    drawn, femora = _draw_femora(sex, stature, population.bone_size_factor, rng)
    person = Participant(
        sex=sex, age_years=int(age + years_later), head_distance_mm=drawn["head_distance_mm"],
        pelvic_tilt_deg=float(rng.normal(0.0, 5.0)), femora=femora,
        bone=_draw_bone(woman, age + years_later, population, rng),
        body=_draw_body(woman, stature, population, rng),
        texture_seed=int(rng.integers(2 ** 31)),
    )
    return with_findings(person, draw_findings(age, population.finding_shares, person.texture_seed))


def with_findings(person: Participant, findings: Findings) -> Participant:
    """Return a person who has these findings: osteoporosis lowers bone, a worn joint is narrow.

    No gap is asked for below the clearance that is kept between bones, so that the gap drawn is the one asked for.
    """
    bone, femora = person.bone, dict(person.femora)
    if findings.osteoporosis:
        less, thin = OSTEOPOROSIS_TRABECULAR_FACTOR, OSTEOPOROSIS_CORTEX_FACTOR
        bone = replace(bone, head_trabecular_mg_cc=less * bone.head_trabecular_mg_cc,
                       neck_trabecular_mg_cc=less * bone.neck_trabecular_mg_cc,
                       trochanteric_trabecular_mg_cc=less * bone.trochanteric_trabecular_mg_cc,
                       cortex_neck_mm=thin * bone.cortex_neck_mm, cortex_shaft_mm=thin * bone.cortex_shaft_mm,
                       cortex_trochanteric_mm=thin * bone.cortex_trochanteric_mm)
    if findings.osteoarthritis is not None:
        femur = femora[findings.osteoarthritis]
        gap = max(WORN_GAP_FACTOR * femur.joint_gap_mm, LEAST_CLEARANCE_MM)
        femora[findings.osteoarthritis] = replace(femur, joint_gap_mm=gap)
    return replace(person, bone=bone, femora=femora, findings=findings)


def _draw_femora(sex: Sex, stature: float, size_factor: float,
                 rng: np.random.Generator) -> tuple[dict[str, float], dict[SideName, FemurAnatomy]]:
    """Draw every quantity of the anatomy file for a person, then each side's departure from it."""
    source = load_anatomy()
    quantities = source.quantities
    mean, within = source.head_radius_by_sex[sex]
    limits = quantities["head_radius_mm"]
    # Stature carries 60 % of the variance of the head's size within a sex.
    radius = float(np.clip(mean + within * _mixed(stature, rng), limits.low, limits.high))
    size, angle = source.size_of(radius), float(rng.normal(0.0, 1.0))
    drawn = {"head_radius_mm": radius}
    for name, quantity in quantities.items():
        if name == "neck_shaft_angle_deg":
            drawn[name] = quantity.value(0.0, 0.0, angle)
        elif name != "head_radius_mm":
            drawn[name] = quantity.value(size, angle, float(rng.normal(0.0, 1.0)))
    sign = 0.5 if sex == "F" else -0.5
    for name in ("neck_shaft_angle_deg", "anteversion_deg"):
        drawn[name] += sign * source.sex[f"{name}_women_less_men"]
    half = {name: 0.5 * float(rng.normal(0.0, 1.0)) * quantity.side_sd for name, quantity in quantities.items()}
    sides = {"left": 1.0, "right": -1.0}
    femora = {side: _femur({name: drawn[name] + sides[side] * half[name] for name in drawn}, source, size_factor)
              for side in SIDES}
    drawn["head_distance_mm"] *= size_factor
    return drawn, femora


def _femur(values: dict[str, float], source: AnatomyFile, size_factor: float) -> FemurAnatomy:
    """Make a femur of drawn values; lengths but the joint gap grow with the population's size."""
    own = {name: values[name] for name in FemurAnatomy.__dataclass_fields__}
    grown = {name: value * (size_factor if name.endswith("_mm") and name not in _NOT_SCALED else 1.0)
             for name, value in own.items()}
    gap = source.quantities["joint_gap_mm"]
    return FemurAnatomy(**{**grown, "joint_gap_mm": float(np.clip(grown["joint_gap_mm"], gap.low, gap.high))})


def _mixed(shared: float, rng: np.random.Generator) -> float:
    return float(np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal())


def _draw_bone(woman: bool, age: float, population: PopulationTier, rng: np.random.Generator) -> BoneTissue:
    """Draw densities and cortex.

    Trabecular bone is lost from the twenties on, by about 1.1 (women) and 0.8 (men) mg/cc a year at the
    hip's head region and less where there is less of it; the cortex thins later, faster in women.
    """
    years = max(age - 30, 0)
    after_50 = max(age - 50, 0)
    vigour = float(rng.normal(0.0, 1.0))
    trabecular = (1.0 - (0.0062 if woman else 0.0045) * years) * float(np.exp(0.16 * vigour))
    trabecular *= population.trabecular_factor
    thinning = (1.0 - (0.0065 if woman else 0.003) * after_50) * float(np.exp(0.09 * vigour))
    thinning *= population.cortex_factor * (0.93 if woman else 1.06)
    own = {name: float(np.exp(rng.normal(0.0, 0.06))) for name in ("head", "neck", "trochanter")}
    return BoneTissue(
        cortical_mg_cc=float(rng.normal(985.0, 30.0)) * population.cortical_density_factor,
        head_trabecular_mg_cc=255.0 * trabecular * own["head"],
        neck_trabecular_mg_cc=150.0 * trabecular * own["neck"],
        trochanteric_trabecular_mg_cc=142.0 * trabecular * own["trochanter"],
        marrow_mg_cc=float(rng.normal(-48.0, 6.0)),
        texture_share=float(rng.uniform(0.12, 0.2)),
        cortex_head_mm=0.9 * thinning,
        cortex_neck_mm=1.7 * thinning,
        cortex_trochanteric_mm=3.7 * thinning,
        cortex_shaft_mm=5.6 * thinning,
    )


def _draw_body(woman: bool, stature: float, population: PopulationTier,
               rng: np.random.Generator) -> BodyAnatomy:
    weight = float(rng.normal(0.0, 1.0))
    girth = population.body_size_factor * (1.0 + 0.045 * weight + 0.02 * stature)
    fat = (24.0 if woman else 17.0) * float(np.exp(0.28 * weight)) * population.fat_factor
    return BodyAnatomy(
        half_width_mm=(184.0 if woman else 182.0) * girth, half_depth_mm=(107.0 if woman else 109.0) * girth,
        fat_mm=float(np.clip(fat, 7.0, 45.0)), skin_mm=2.0,
        thigh_radius_mm=(88.0 if woman else 86.0) * girth,
        fat_hu=float(rng.normal(-106.0, 3.0)), muscle_hu=float(rng.normal(52.0, 4.0)),
        fat_infiltration=float(np.clip(rng.normal(0.5, 0.2), 0.1, 1.0)),
        bladder_radius_mm=float(rng.uniform(22.0, 42.0)), rectal_gas=bool(rng.random() < 0.6),
        muscle_mass=(0.96 if woman else 1.04) * (1.0 + 0.02 * stature),
    )
