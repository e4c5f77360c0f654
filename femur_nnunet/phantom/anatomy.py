"""Parameters of one synthetic participant and the distributions they are drawn from.

Where a figure says "label maps", it was measured on the 22 pairs of hips in the label maps of
MICCAI2022-155/AuToSeg (MIT licence): a sphere fitted to each femoral head, a line through the centroids
of the shaft's sections, the narrowest section of the neck, and distances between femur and hip bone. On
44 hips: head radius 22.5 mm (SD 2.3, and two humps, near 20.6 and 24.5), distance of head centres
173 mm (SD 10), joint gap between voxel centres 3.9 mm (SD 0.4), less a voxel: about 3.3 mm. On the 6
femora with enough shaft: neck-shaft angle 122 degrees (SD 4), anteversion 7 degrees (SD 8, legs turned
as they lay), offset 49 mm (SD 4; these six are large), narrowest neck 16 x 19.5 mm half axes (by second
moments), greater trochanter 5 mm above the head centre (SD 2), its lateral edge 72 mm from it (SD 7).
The maps carry no sex: the two humps are taken as women and men. Spreads that six femora cannot give are
textbook values. Densities follow the ranges usual in QCT of the hip, not these maps, which hold none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from femur_nnunet.phantom.tiers import PopulationTier

Sex = Literal["F", "M"]
SideName = Literal["left", "right"]
SIDES: tuple[SideName, SideName] = ("left", "right")


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


def draw_participant(sex: Sex, population: PopulationTier, rng: np.random.Generator) -> Participant:
    """Draw one participant.

    Parameters
    ----------
    sex : {"F", "M"}
        Sex, which is decided by the cohort's design and not drawn here.
    population : PopulationTier
        Where the site's population differs from the source's.
    rng : numpy.random.Generator
        Source of every random number; the same state gives the same person.
    """
    woman = sex == "F"
    age = int(np.clip(round(rng.normal(population.age_mean_years, population.age_sd_years)), 30, 88))
    stature = float(rng.normal(0.0, 1.0))
    # The two humps of the label maps' radii; stature carries 60 % of the variance of every length.
    radius = (21.0 if woman else 24.3) + (1.1 if woman else 1.2) * _mixed(stature, rng)
    scale = radius / 22.5 * population.bone_size_factor
    femur = FemurAnatomy(
        head_radius_mm=22.5 * scale,
        neck_shaft_angle_deg=float(np.clip(rng.normal(124.5, 4.0), 115, 136)),
        anteversion_deg=float(np.clip(rng.normal(11.0, 7.0), -6, 28)),
        offset_mm=44.0 * scale + float(rng.normal(0.0, 2.5)),
        neck_half_minor_mm=14.0 * scale * float(rng.normal(1.0, 0.035)),
        neck_half_major_mm=16.8 * scale * float(rng.normal(1.0, 0.035)),
        shaft_radius_mm=14.9 * scale * float(rng.normal(1.0, 0.04)),
        bow_radius_mm=float(rng.uniform(800.0, 1300.0)),
        trochanter_height_mm=float(np.clip(rng.normal(3.0, 2.5), -3, 9)),
        trochanter_width_mm=22.0 * scale * float(rng.normal(1.0, 0.04)),
        lesser_trochanter_mm=9.0 * scale * float(rng.normal(1.0, 0.08)),
        joint_gap_mm=float(np.clip(rng.normal(3.4, 0.4), 2.5, 4.6)),
    )
    return Participant(
        sex=sex, age_years=age,
        head_distance_mm=(174.0 if woman else 173.0) * (0.55 + 0.45 * scale) + float(rng.normal(0.0, 5.0)),
        pelvic_tilt_deg=float(rng.normal(0.0, 5.0)),
        femora={"left": femur, "right": _other_side(femur, rng)},
        bone=_draw_bone(woman, age, population, rng),
        body=_draw_body(woman, stature, population, rng),
        texture_seed=int(rng.integers(2 ** 31)),
    )


def _mixed(shared: float, rng: np.random.Generator) -> float:
    return float(np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal())


def _other_side(femur: FemurAnatomy, rng: np.random.Generator) -> FemurAnatomy:
    """Return the other side's femur; on the label maps head radii of one person differ by about 0.3 mm."""
    return replace(
        femur,
        head_radius_mm=femur.head_radius_mm + float(rng.normal(0.0, 0.25)),
        neck_shaft_angle_deg=femur.neck_shaft_angle_deg + float(rng.normal(0.0, 1.5)),
        anteversion_deg=femur.anteversion_deg + float(rng.normal(0.0, 3.0)),
        offset_mm=femur.offset_mm + float(rng.normal(0.0, 1.2)),
        neck_half_minor_mm=femur.neck_half_minor_mm * float(rng.normal(1.0, 0.015)),
        neck_half_major_mm=femur.neck_half_major_mm * float(rng.normal(1.0, 0.015)),
        trochanter_height_mm=femur.trochanter_height_mm + float(rng.normal(0.0, 1.0)),
        joint_gap_mm=max(femur.joint_gap_mm + float(rng.normal(0.0, 0.2)), 2.4),
    )


def _draw_bone(woman: bool, age: int, population: PopulationTier, rng: np.random.Generator) -> BoneTissue:
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
        neck_trabecular_mg_cc=165.0 * trabecular * own["neck"],
        trochanteric_trabecular_mg_cc=115.0 * trabecular * own["trochanter"],
        marrow_mg_cc=float(rng.normal(-48.0, 6.0)),
        texture_share=float(rng.uniform(0.12, 0.2)),
        cortex_head_mm=0.9 * thinning,
        cortex_neck_mm=1.7 * thinning,
        cortex_trochanteric_mm=1.5 * thinning,
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
    )
