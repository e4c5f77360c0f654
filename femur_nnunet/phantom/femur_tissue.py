"""What fills a femur: how thick its cortex is and how dense its spongy bone, from its frame alone.

The regions follow Singh's trabecular groups (J. Bone Joint Surg. Am. 52, 1970): the principal compressive
group from the calcar to the head's top, the principal tensile group from the lateral cortex through the
upper neck to the lower head, the secondary compressive group towards the greater trochanter, and Ward's
triangle, the hollow between them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import CORTEX_SPREAD, BoneTissue
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule, ellipsoid, smooth_step
from femur_nnunet.phantom.tissue import texture

REFERENCE_HEAD_RADIUS_MM = 22.5
# Half the neck's height at a head radius of 22.5 mm.
NECK_HALF_MAJOR_MM = 16.8
# Size of the patches in which the cortex is thicker or thinner.
CORTEX_PATCH_MM = 11.0
SPONGY_PATCH_MM = 8.0
SPONGY_PATCH_SPREAD = 0.15
# Along its trabeculae the grain is this much longer than across.
GRAIN_LENGTH = 3.2
# Cortical density of head, neck, trochanteric region and shaft against ``cortical_mg_cc``.
CORTICAL_FACTORS = (0.85, 0.82, 0.565, 1.06)
CORTICAL_DENSITY_SPREAD = 0.05


class FemurFrame(Protocol):
    """The axes of a left femur in its own frame, however its surface is known."""

    @property
    def scale(self) -> float:
        """Size against a femur of 22.5 mm head radius."""
        ...

    @property
    def lateral(self) -> NDArray[np.float64]:
        """Horizontal unit vector of the neck, from the head to the shaft."""
        ...

    @property
    def posterior(self) -> NDArray[np.float64]:
        """Horizontal unit vector across the neck, backwards."""
        ...

    @property
    def neck_axis(self) -> NDArray[np.float64]:
        """Unit vector from the head centre along the neck to the shaft."""
        ...

    @property
    def neck_length_mm(self) -> float:
        """Distance from the head centre to the shaft axis along the neck."""
        ...

    @property
    def neck_ends_at_mm(self) -> float:
        """Distance along the neck axis at which the trochanteric region begins."""
        ...

    @property
    def shaft_point(self) -> NDArray[np.float64]:
        """Where the shaft axis passes the height of the head centre."""
        ...

    def along_neck(self, at: Coordinates) -> FloatArray:
        """Return the coordinate along the neck axis in mm, 0 in the head centre."""
        ...


def cortical_thickness(frame: FemurFrame, at: Coordinates, bone: BoneTissue,
                       seed: int | None = None) -> FloatArray:
    """Return the thickness of the cortex in mm at the surface nearest to each point.

    The neck's lower side (calcar) is several times as thick as its upper side; the lateral wall of the
    greater trochanter is thin; the shaft's cortex grows downwards from that of the trochanteric region.

    Parameters
    ----------
    frame : FemurFrame
        Axes of the femur.
    at : Coordinates
        Points in the femur frame.
    bone : BoneTissue
        Mean thickness by region.
    seed : int, optional
        Seed of the smooth variation over the surface; without it there is none.
    """
    along = frame.along_neck(at)
    radius, scale = REFERENCE_HEAD_RADIUS_MM * frame.scale, frame.scale
    upward = np.cross(frame.neck_axis, frame.posterior)
    if upward[2] < 0:
        upward = -upward
    height = _dot(at, upward) / np.float32(NECK_HALF_MAJOR_MM * scale)
    calcar = 1 + np.float32(0.8) * smooth_step(-height, 0.1, 1.0) - np.float32(0.5) * smooth_step(height, 0.1, 1.0)
    thickness = np.float32(bone.cortex_head_mm) + smooth_step(along, 0.6 * radius, 1.1 * radius) * (
        np.float32(bone.cortex_neck_mm) * calcar - np.float32(bone.cortex_head_mm))
    # The calcar runs on below the neck to the height of the lesser trochanter.
    medial = smooth_step(_beside_shaft(frame, at), 0.0, -16.0 * scale)
    lateral_wall = smooth_step(_beside_shaft(frame, at), 4.0 * scale, 20.0 * scale)
    trochanteric = np.float32(bone.cortex_trochanteric_mm) * (
        1 + np.float32(0.55) * medial - np.float32(0.4) * lateral_wall)
    thickness += smooth_step(along, frame.neck_ends_at_mm - 6, frame.neck_ends_at_mm + 10) * (
        trochanteric - thickness)
    shaft = smooth_step(at.z, -42.0 * scale, -120.0 * scale)
    thickness += shaft * (np.float32(bone.cortex_shaft_mm) - thickness)
    if seed is not None:
        patches = texture(at, seed, cell_mm=CORTEX_PATCH_MM)
        # The shaft varies half as much as the rest, the head's plate as the person's bone says.
        spread = np.float32(CORTEX_SPREAD) * (1 - np.float32(0.5) * shaft)
        spread += smooth_step(along, 1.1 * radius, 0.6 * radius) * np.float32(bone.head_plate_spread - CORTEX_SPREAD)
        thickness *= np.exp(spread * patches)
    return thickness


def cortical_density(frame: FemurFrame, at: Coordinates, bone: BoneTissue, seed: int | None = None) -> FloatArray:
    """Return the density of the cortex in mg/cc: lower where it is porous and thin, highest in the shaft.

    The regional factors were set so that cohorts of women over 65 measure as docs/synthetic_cohort.md states.

    Parameters
    ----------
    frame, at, bone, seed
        As in :func:`cortical_thickness`; ``bone.cortical_mg_cc`` is the density at a factor of 1.
    """
    along = frame.along_neck(at)
    radius = REFERENCE_HEAD_RADIUS_MM * frame.scale
    head, neck, trochanter, shaft = CORTICAL_FACTORS
    factor = np.float32(head) + smooth_step(along, 0.6 * radius, 1.1 * radius) * np.float32(neck - head)
    factor += smooth_step(along, frame.neck_ends_at_mm - 6, frame.neck_ends_at_mm + 10) * np.float32(
        trochanter - neck)
    factor += smooth_step(at.z, -50.0 * frame.scale, -120.0 * frame.scale) * (np.float32(shaft) - factor)
    if seed is not None:
        factor *= 1 + np.float32(CORTICAL_DENSITY_SPREAD) * texture(at, seed + 150, cell_mm=CORTEX_PATCH_MM)
    return np.float32(bone.cortical_mg_cc) * factor


def trabecular_density(frame: FemurFrame, at: Coordinates, bone: BoneTissue) -> FloatArray:
    """Return the mean density in mg/cc of what lies inside the cortex, before texture.

    Head, neck and trochanteric region have their own level, raised in the trabecular groups and lowered
    in Ward's triangle; below the lesser trochanter spongy bone gives way to marrow.
    """
    along = frame.along_neck(at)
    radius, scale = REFERENCE_HEAD_RADIUS_MM * frame.scale, frame.scale
    to_neck = smooth_step(along, 0.5 * radius, 1.3 * radius)
    density = np.float32(bone.head_trabecular_mg_cc) + to_neck * np.float32(
        bone.neck_trabecular_mg_cc - bone.head_trabecular_mg_cc)
    density += smooth_step(along, frame.neck_ends_at_mm - 8, frame.neck_ends_at_mm + 12) * np.float32(
        bone.trochanteric_trabecular_mg_cc - bone.neck_trabecular_mg_cc)
    rise = np.float32(0.30 * bone.head_trabecular_mg_cc)
    compressive, tensile = trabecular_groups(frame, at)
    # The rim of the head beside the compressive group is the sparser part of it.
    density *= 1 - np.float32(0.22) * (1 - to_neck) * (1 - compressive)
    density += rise * (compressive + np.float32(0.55) * tensile * (1 - compressive))
    hollow = frame.neck_axis * 0.72 * frame.neck_length_mm
    ward = ellipsoid(at, (float(hollow[0]), float(hollow[1]), float(hollow[2]) + 1 * scale),
                     (11 * scale, 9 * scale, 10 * scale))
    # Yellow marrow fills the hollow, the more so the less bone there is.
    density += smooth_step(ward, 5.0, -4.0) * np.float32(0.85) * (np.float32(0.5 * bone.marrow_mg_cc) - density)
    trochanter = ellipsoid(at, tuple(frame.shaft_point + 12 * scale * frame.lateral
                                     + np.array([0.0, 0.0, -24.0 * scale])), (9 * scale, 11 * scale, 15 * scale))
    density += smooth_step(trochanter, 6.0, -4.0) * np.float32(0.35) * (np.float32(0.5 * bone.marrow_mg_cc) - density)
    marrow = smooth_step(at.z, -48.0 * scale, -92.0 * scale)
    return density + marrow * (np.float32(bone.marrow_mg_cc) - density)


def trabecular_groups(frame: FemurFrame, at: Coordinates) -> tuple[FloatArray, FloatArray]:
    """Return how much each point belongs to the principal compressive and the principal tensile group, 0 to 1."""
    scale, lateral = frame.scale, frame.lateral
    foot = tuple(18 * scale * lateral + np.array([0.0, 0.0, -30 * scale]))
    top = tuple(-5 * scale * lateral + np.array([0.0, 0.0, 17 * scale]))
    compressive = capsule(at, top, foot, 10 * scale, 6 * scale)
    shaft = frame.shaft_point
    arc = (tuple(shaft + 15 * scale * lateral + np.array([0, 0, -36 * scale])),
           tuple(shaft + 1 * scale * lateral + np.array([0, 0, -12 * scale])),
           tuple(frame.neck_axis * 0.45 * frame.neck_length_mm + np.array([0, 0, 8.0 * scale])),
           tuple(-12 * scale * lateral + np.array([0, 0, -6.0 * scale])))
    tensile: FloatArray | None = None
    for start, end in pairwise(arc):
        rod = capsule(at, start, end, 4.5 * scale, 4.5 * scale)
        tensile = rod if tensile is None else np.minimum(tensile, rod)
    return smooth_step(compressive, 4.0, -5.0), smooth_step(np.asarray(tensile), 3.5, -3.0)


def spongy_density(frame: FemurFrame, at: Coordinates, depth_mm: FloatArray, bone: BoneTissue,
                   seed: int) -> FloatArray:
    """Return the density in mg/cc of what lies inside the cortex, with texture.

    To :func:`trabecular_density` come patches of some millimetres, a grain that runs along the trabecular
    groups, denser bone below the head's joint surface, the scar of the growth plate and, in the shaft,
    nearly even marrow.

    Parameters
    ----------
    frame, at, bone
        As in :func:`trabecular_density`.
    depth_mm : ndarray
        Depth of each point below the bone's surface.
    seed : int
        Seed of every random pattern of this bone.
    """
    density = trabecular_density(frame, at, bone)
    radius, scale = REFERENCE_HEAD_RADIUS_MM * frame.scale, frame.scale
    along = frame.along_neck(at)
    head = smooth_step(along, 0.8 * radius, 0.3 * radius)
    density += head * np.float32(bone.head_rim_rise * bone.head_trabecular_mg_cc) * np.exp(
        -np.maximum(depth_mm, np.float32(0)) / np.float32(4.0))
    patches = texture(at, seed + 100, cell_mm=SPONGY_PATCH_MM)
    scar = (along - np.float32(0.12 * radius) - _cross_distance(frame, at) * np.float32(0.0016)) / np.float32(1.3)
    density += np.float32(0.45 * bone.head_trabecular_mg_cc) * np.exp(-scar * scar) * np.clip(
        np.float32(0.35) + np.float32(0.6) * patches, 0, 1) * (depth_mm > 0)
    grain = oriented_grain(frame, at, seed)
    # Fatty marrow is even; where there is bone, its texture grows with its amount.
    amount = np.maximum(density - np.float32(bone.marrow_mg_cc), 0) * (
        1 - smooth_step(at.z, -70.0 * scale, -100.0 * scale))
    return density + amount * (np.float32(SPONGY_PATCH_SPREAD) * patches + np.float32(bone.texture_share) * grain)


def oriented_grain(frame: FemurFrame, at: Coordinates, seed: int) -> FloatArray:
    """Return a random grain of unit spread whose threads follow the trabecular groups."""
    compressive, tensile = trabecular_groups(frame, at)
    steep = 0.45 * frame.lateral + np.array([0.0, 0.0, -0.89])
    flat = 0.86 * frame.lateral + np.array([0.0, 0.0, -0.5])
    values = texture(_stretched(at, steep), seed)
    across = texture(_stretched(at, flat), seed + 50)
    share = np.clip(tensile - compressive + np.float32(0.25), 0, 1)
    mixed = (1 - share) * values + share * across
    return mixed / np.sqrt((1 - share) ** 2 + share ** 2)


def _stretched(at: Coordinates, direction: NDArray[np.float64]) -> Coordinates:
    """Return coordinates pressed together along one direction, so that a grain read there is longer."""
    unit = direction / np.linalg.norm(direction)
    excess = _dot(at, unit) * np.float32(1 - 1 / GRAIN_LENGTH)
    return Coordinates(at.x - excess * np.float32(unit[0]), at.y - excess * np.float32(unit[1]),
                       at.z - excess * np.float32(unit[2]))


def _cross_distance(frame: FemurFrame, at: Coordinates) -> FloatArray:
    """Return the squared distance from the neck axis in mm2."""
    return at.x ** 2 + at.y ** 2 + at.z ** 2 - frame.along_neck(at) ** 2


def _beside_shaft(frame: FemurFrame, at: Coordinates) -> FloatArray:
    """Return how far lateral of the shaft axis a point lies, in mm."""
    lateral = frame.lateral.astype(np.float32)
    return at.x * lateral[0] + at.y * lateral[1] - np.float32(frame.shaft_point @ frame.lateral)


def _dot(at: Coordinates, direction: NDArray[np.float64]) -> FloatArray:
    unit = direction.astype(np.float32)
    return at.x * unit[0] + at.y * unit[1] + at.z * unit[2]
