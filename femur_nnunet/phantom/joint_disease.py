"""Osteoarthritis of one hip: a narrow gap, osteophytes around the head, sclerosis under the joint surface, cysts.

Osteophytes are bone of the femur: they belong to the mask and to every true quantity.
"""

from __future__ import annotations

import numpy as np

from femur_nnunet.phantom.femur_tissue import REFERENCE_HEAD_RADIUS_MM, FemurFrame
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, smooth_step, sphere

OSTEOPHYTES = 7
# How far bumps rise over a sphere of the head's size: moderate to large osteophytes on radiographs.
OSTEOPHYTE_RISE_MM = (2.0, 5.0)
CYSTS = 3
CYST_MG_CC = 10.0
SCLEROSIS_MG_CC = 260.0


def osteophytes(frame: FemurFrame, at: Coordinates, seed: int) -> FloatArray:
    """Return the field of bumps on the rim between head and neck, negative inside, in the femur frame.

    Parameters
    ----------
    frame : FemurFrame
        Axes of the femur.
    at : Coordinates
        Points in the femur frame.
    seed : int
        Decides where the bumps are; each stands out by 2 to 5 mm.
    """
    rng = np.random.default_rng([seed, 41])
    radius = REFERENCE_HEAD_RADIUS_MM * frame.scale
    upward = np.cross(frame.neck_axis, frame.posterior)
    field: FloatArray | None = None
    for _ in range(OSTEOPHYTES):
        angle, along = rng.uniform(0, 2 * np.pi), float(rng.uniform(0.45, 0.75))
        around = np.cos(angle) * frame.posterior + np.sin(angle) * upward
        outwards = along * frame.neck_axis + np.sqrt(1.0 - along ** 2) * around
        rise = float(rng.uniform(*OSTEOPHYTE_RISE_MM))
        # Flatter than a half ball: the centre lies a little below the head's surface.
        size = rise + float(rng.uniform(1.0, 2.5))
        bump = sphere(at, outwards * (radius + rise - size), size)
        field = bump if field is None else np.minimum(field, bump)
    return np.asarray(field, dtype=np.float32)


def narrowing(at: Coordinates, by_mm: float, cup_radius_mm: float) -> FloatArray:
    """Return by how much the hip bone's surface moves towards the head, in mm: fully at the cup, not beyond its wall.

    Parameters
    ----------
    at : Coordinates
        Points in the hip frame, whose origin is the head's centre.
    by_mm : float
        Loss of the joint's space.
    cup_radius_mm : float
        Inner radius of the cup.
    """
    radius = np.sqrt(at.x ** 2 + at.y ** 2 + at.z ** 2)
    return np.float32(by_mm) * smooth_step(radius, cup_radius_mm + 9.0, cup_radius_mm + 3.0)


def worn_density(frame: FemurFrame, at: Coordinates, depth_mm: FloatArray, density: FloatArray,
                 seed: int) -> FloatArray:
    """Return the spongy density (mg/cc) of a worn head: denser under the loaded surface, with cysts."""
    rng = np.random.default_rng([seed, 42])
    radius = REFERENCE_HEAD_RADIUS_MM * frame.scale
    pole = smooth_step(at.z, 0.35 * radius, 0.9 * radius)
    density = density + np.float32(SCLEROSIS_MG_CC) * pole * np.exp(-np.maximum(depth_mm, 0) / np.float32(5.0))
    for _ in range(CYSTS):
        centre = (float(rng.uniform(-0.35, 0.35)) * radius, float(rng.uniform(-0.4, 0.3)) * radius,
                  float(rng.uniform(0.55, 0.72)) * radius)
        size = float(rng.uniform(2.2, 4.5))
        from_cyst = sphere(at, centre, size)
        wall = np.exp(-(from_cyst / np.float32(1.2)) ** 2)
        density = density + wall * np.float32(0.7 * SCLEROSIS_MG_CC)
        density = density + smooth_step(from_cyst, 0.6, -0.6) * (np.float32(CYST_MG_CC) - density)
    return density
