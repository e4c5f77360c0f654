"""The analytic hip bone of one side and the sacrum: the other bone that a segmentation must leave out.

The hip bone is written in the *hip frame* of a left hip: origin in the femoral head's centre, x to the
lateral side, y backwards, z upwards along the pelvis, in mm for a head radius of 22.5 mm. Its landmarks
were read off the mean of the hip bones in the label maps of MICCAI2022-155/AuToSeg (MIT).
"""

from __future__ import annotations

import numpy as np

from femur_nnunet.phantom.shapes import (
    Coordinates,
    FloatArray,
    capsule,
    ellipse_tube,
    ellipsoid,
    smooth_intersection,
    smooth_step,
    smooth_union,
    sphere,
)
from femur_nnunet.regions import REFERENCE_HEAD_RADIUS_MM

# Unit normal of the cup's opening: outwards, forwards and downwards.
CUP_OPENING = np.array([0.63, -0.23, -0.742]) / np.linalg.norm([0.63, -0.23, -0.742])
SYMPHYSIS_HALF_GAP_MM = 2.2
CORTEX_MM = 1.5
TRABECULAR_MG_CC = 125.0


def hip_bone(at: Coordinates, *, head_radius_mm: float, joint_gap_mm: float,
             midline_mm: float) -> FloatArray:
    """Return the field of a left hip bone around a femoral head, negative inside.

    Parameters
    ----------
    at : Coordinates
        Points in the hip frame.
    head_radius_mm, joint_gap_mm : float
        The cup's inner radius is their sum.
    midline_mm : float
        Distance from the head centre to the body's midline; the bone ends 2 mm before it.
    """
    scale = head_radius_mm / REFERENCE_HEAD_RADIUS_MM
    unit = Coordinates(at.x / np.float32(scale), at.y / np.float32(scale), at.z / np.float32(scale))
    middle = -midline_mm / scale
    bone = smooth_union(_cup(unit), _ilium(unit), 12.0)
    bone = smooth_union(bone, _ischium(unit), 8.0)
    bone = smooth_union(bone, _pubis(unit, middle), 7.0)
    bone *= np.float32(scale)
    bone = smooth_intersection(bone, -(at.x + np.float32(midline_mm - SYMPHYSIS_HALF_GAP_MM)), 2.0)
    cavity = sphere(at, (0, 0, 0), head_radius_mm + joint_gap_mm)
    fossa = np.float32(scale) * ellipsoid(unit, (-21, 4, -11), (9.5, 10, 12))
    return np.maximum(bone, -np.minimum(cavity, fossa))


def _cup(at: Coordinates) -> FloatArray:
    mass = ellipsoid(at, (-7, 3, 8), (29.5, 32, 30))
    normal = CUP_OPENING.astype(np.float32)
    rim = at.x * normal[0] + at.y * normal[1] + at.z * normal[2] + np.float32(2.0)
    return smooth_intersection(mass, rim, 3.0)


def _ilium(at: Coordinates) -> FloatArray:
    """Return a slab above the cup from front-lateral to back-medial.

    It grows thinner and leans outwards as it rises.
    """
    rise = np.maximum(at.z - np.float32(28), np.float32(0))
    dx = at.x + np.float32(4) - rise * np.float32(0.28)
    dy = at.y - np.float32(5)
    across = np.float32(0.932) * dx + np.float32(0.362) * dy
    along = np.float32(-0.362) * dx + np.float32(0.932) * dy
    thickness = np.float32(20) - np.float32(13) * smooth_step(at.z, 22.0, 75.0)
    length = np.float32(36) + np.float32(0.5) * rise
    slab = ellipse_tube(across, along, thickness, length)
    return smooth_intersection(slab, np.float32(16) - at.z, 10.0)


def _ischium(at: Coordinates) -> FloatArray:
    body = capsule(at, (-19, 22, 0), (-23, 35, -35), 12.5, 12.5)
    tuberosity = capsule(at, (-23, 37, -35), (-32, 36, -56), 13, 12)
    spine = capsule(at, (-22, 28, 10), (-29, 47, -4), 9, 4.5)
    return smooth_union(smooth_union(body, tuberosity, 6.0), spine, 8.0)


def _pubis(at: Coordinates, middle: float) -> FloatArray:
    upper = capsule(at, (-22, -16, 2), (middle + 25, -34, -9), 9.5, 8.5)
    body = ellipsoid(at, (middle + 11, -27, -24), (11.5, 10, 19))
    lower = capsule(at, (middle + 12, -17, -40), (-33, 34, -60), 5.5, 8.0)
    return smooth_union(smooth_union(upper, body, 8.0), lower, 7.0)


def sacrum(at: Coordinates, scale: float = 1.0) -> FloatArray:
    """Return the field of sacrum and coccyx in the pelvis frame (origin between the head centres)."""
    unit = Coordinates(at.x / np.float32(scale), at.y / np.float32(scale), at.z / np.float32(scale))
    rise = np.maximum(unit.z - np.float32(5), np.float32(0))
    below = np.minimum(unit.z - np.float32(25), np.float32(0))
    # The coccyx curves forwards again.
    backward = np.float32(90) - np.float32(0.05) * rise - np.float32(0.0035) * below * below
    tube = ellipse_tube(unit.y - backward, unit.x, np.float32(7) + np.float32(0.14) * rise,
                        np.float32(9) + np.float32(0.55) * rise)
    return np.float32(scale) * smooth_intersection(tube, np.float32(-22) - unit.z, 8.0)
