"""What fills hip bone and sacrum: cortex, subchondral plate of the cup, sparse spongy bone, foramina."""

from __future__ import annotations

import numpy as np

from femur_nnunet.phantom.anatomy import BoneTissue
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, smooth_step
from femur_nnunet.phantom.tissue import texture

CORTEX_MM = 1.25
# The hip bone's spongy bone against that of the trochanteric region: a little denser at the same age.
DENSITY_AGAINST_TROCHANTER = 1.1
CORTICAL_SHARE = 0.93
PATCH_MM = 9.0


def pelvic_cortex(at: Coordinates, bone: BoneTissue, seed: int, *, cup_radius_mm: float | None) -> FloatArray:
    """Return the thickness of the cortex in mm at each point.

    Parameters
    ----------
    at : Coordinates
        Points in the bone's frame; the hip frame's origin is the femoral head's centre.
    bone : BoneTissue
        The neck's cortex sets the level.
    seed : int
        Seed of the variation over the surface.
    cup_radius_mm : float or None
        Inner radius of the cup, whose roof is about twice as thick; None for the sacrum.
    """
    thickness = np.float32(CORTEX_MM * bone.cortex_neck_mm / 1.5) * np.exp(
        np.float32(0.22) * texture(at, seed + 200, cell_mm=PATCH_MM))
    if cup_radius_mm is not None:
        radius = np.sqrt(at.x ** 2 + at.y ** 2 + at.z ** 2)
        roof = smooth_step(at.z, -0.2 * cup_radius_mm, 0.8 * cup_radius_mm)
        at_cup = smooth_step(radius, cup_radius_mm + 8.0, cup_radius_mm + 2.0)
        thickness *= 1 + at_cup * (np.float32(0.15) + np.float32(0.75) * roof)
        thickness *= 1 + at_cup * np.float32(bone.cup_plate_factor - 1)
        # The iliac wing is a sandwich of two plates thicker than the walls of the pelvis below it.
        thickness *= 1 + np.float32(0.35) * smooth_step(at.z, 35.0, 70.0)
    return thickness


def pelvic_density(at: Coordinates, depth_mm: FloatArray, bone: BoneTissue, seed: int, *,
                   cup_radius_mm: float | None) -> FloatArray:
    """Return the density in mg/cc of what lies inside the cortex: spongy bone with texture, in patches."""
    level = np.float32(DENSITY_AGAINST_TROCHANTER * bone.trochanteric_trabecular_mg_cc)
    density = np.full(depth_mm.shape, level, dtype=np.float32)
    if cup_radius_mm is not None:
        radius = np.sqrt(at.x ** 2 + at.y ** 2 + at.z ** 2)
        roof = smooth_step(at.z, 0.0, 0.8 * cup_radius_mm)
        above = smooth_step(radius, cup_radius_mm + 26.0, cup_radius_mm + 2.0)
        density += np.float32(0.95 * bone.neck_trabecular_mg_cc) * roof * above * above
    density += np.float32(0.35) * level * np.exp(-np.maximum(depth_mm, 0) / np.float32(3.0))
    amount = np.maximum(density - np.float32(bone.marrow_mg_cc), 0)
    return density + amount * (np.float32(0.15) * texture(at, seed + 300, cell_mm=PATCH_MM)
                               + np.float32(1.1 * bone.texture_share) * texture(at, seed, cell_mm=2.2))


def sacral_foramina(at: Coordinates) -> FloatArray:
    """Return the field of the sacral canal and of four pairs of foramina, negative inside, pelvis frame.

    They are tubes from front to back beside the midline, one pair for each of the upper four vertebrae.
    """
    mirrored = np.abs(at.x)
    rise = np.maximum(at.z - np.float32(5), 0)
    behind = np.float32(90) + np.float32(0.02) * rise
    canal = np.sqrt((mirrored * np.float32(0.55)) ** 2 + (at.y - behind - np.float32(2.5)) ** 2) - (
        np.float32(2.2) + np.float32(0.035) * rise)
    # Foramina sit every 22 mm along the height and lie a little nearer to the midline further down.
    spacing = np.float32(22)
    place = (np.mod(at.z - np.float32(8), spacing) - spacing / 2)
    holes = np.sqrt((mirrored - (np.float32(15) + np.float32(0.06) * rise)) ** 2 + place ** 2) - np.float32(4.6)
    holes = np.maximum(holes, np.float32(4) - at.z)
    return np.minimum(np.maximum(canal, -at.z), holes).astype(np.float32)
