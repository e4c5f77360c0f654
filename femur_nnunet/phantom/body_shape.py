"""The body's outer surface: trunk on two thighs that follow the legs, buttocks flattened by the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from femur_nnunet.phantom.anatomy import BodyAnatomy
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, smooth_intersection, smooth_union

AIR_HU = -1000.0
CENTRE_BEHIND_HEADS_MM = 5.0
PERINEUM_BELOW_MM = 84.0
CLEFT_WIDTH_MM = 9.0
CLEFT_DEPTH_MM = 9.0


@dataclass(frozen=True)
class LegLean:
    """How far each thigh moves to the left and backwards for each mm below the heads (body frame)."""

    left_xy: tuple[float, float] = (0.0, 0.0)
    right_xy: tuple[float, float] = (0.0, 0.0)


def body_field(at: Coordinates, body: BodyAnatomy, head_distance_mm: float, *, lean: LegLean | None = None,
               back_plane_mm: float | None = None) -> FloatArray:
    """Return the field of the skin's outer surface in the pelvis frame, negative inside.

    Parameters
    ----------
    at : Coordinates
        Points in the body frame.
    body : BodyAnatomy
        Widths and depths.
    head_distance_mm : float
        Distance of the femoral heads' centres.
    lean : LegLean, optional
        Lean of the thighs; without it they are vertical.
    back_plane_mm : float, optional
        y of the face on which the body lies and which flattens it.
    """
    lean = lean or LegLean()
    behind = at.y - np.float32(CENTRE_BEHIND_HEADS_MM)
    v = behind / np.float32(body.half_depth_mm)
    # A lying body is widest behind the middle and narrows towards the belly; the superellipse gives it
    # flanks and a back that are flatter than an ellipse's.
    narrowing = 1 + np.float32(0.30) * np.clip(-v - np.float32(0.1), 0, 1) ** 2
    # The waist is narrower than the trochanters, by a few per cent at the scan's top.
    waist = 1 + np.float32(0.0006) * np.clip(at.z - np.float32(20), 0, 120)
    u = np.abs(at.x) / np.float32(body.half_width_mm) * narrowing * waist
    norm = (u ** 2.4 + np.abs(v) ** 2.4) ** np.float32(1 / 2.4)
    trunk = (norm - 1) * np.float32(0.5 * (body.half_width_mm + body.half_depth_mm)) * np.float32(0.8)
    # Between belly and thighs the front falls back in the groins, beside the mound over the symphysis.
    groin = np.exp(-((at.z + np.float32(30)) / np.float32(42)) ** 2) * np.clip(-v, 0, 1)
    trunk = trunk + groin * (np.float32(9) * np.exp(
        -((np.abs(at.x) - np.float32(0.32 * head_distance_mm)) / np.float32(26)) ** 2) - np.float32(3))
    trunk = smooth_intersection(trunk, np.float32(-PERINEUM_BELOW_MM) - at.z, 30.0)
    across = body.thigh_radius_mm
    centre = max(head_distance_mm / 2 + 10.0, across + 2.0)
    below = np.maximum(-at.z, np.float32(0))
    left = at.x > 0
    shift_x = np.where(left, np.float32(lean.left_xy[0]), np.float32(-lean.right_xy[0])) * below
    shift_y = np.where(left, np.float32(lean.left_xy[1]), np.float32(lean.right_xy[1])) * below
    thinning = np.float32(0.06) * np.maximum(below - np.float32(60), 0)
    thighs = np.sqrt((np.abs(at.x) - np.float32(centre) - shift_x) ** 2
                     + ((behind - shift_y) * np.float32(0.95)) ** 2) - (np.float32(across) - thinning)
    thighs = smooth_intersection(thighs, at.z + np.float32(15.0), 40.0)
    skin = smooth_union(trunk, thighs, 26.0)
    if back_plane_mm is not None:
        skin = smooth_intersection(skin, at.y - np.float32(back_plane_mm), 22.0)
    return skin + _cleft(at, body)


def _cleft(at: Coordinates, body: BodyAnatomy) -> FloatArray:
    """Return how far the skin falls back between the buttocks, in mm."""
    low = np.clip((np.float32(55) - at.z) / np.float32(60), 0, 1)
    back = np.clip((at.y - np.float32(0.35 * body.half_depth_mm)) / np.float32(0.4 * body.half_depth_mm), 0, 1)
    return (np.float32(CLEFT_DEPTH_MM) * low * back
            * np.exp(-(at.x / np.float32(CLEFT_WIDTH_MM)) ** 2)).astype(np.float32)


def fat_depth(at: Coordinates, body: BodyAnatomy) -> FloatArray:
    """Return how deep the muscles' fascia lies below the skin, in mm.

    Thickest over the buttocks, half as thick at the side, thin in front of the thighs; over the pubis a
    pad of fat.
    """
    v = np.clip((at.y - np.float32(CENTRE_BEHIND_HEADS_MM)) / np.float32(body.half_depth_mm), -1, 1)
    share = np.float32(0.82) + np.float32(0.32) * v + np.float32(0.12) * v * np.abs(v)
    thigh = np.clip((-at.z - np.float32(60)) / np.float32(80), 0, 1)
    share = share - thigh * np.float32(0.22)
    pubis = np.exp(-(at.x / np.float32(48)) ** 2 - ((at.z + np.float32(18)) / np.float32(42)) ** 2)
    return np.float32(body.skin_mm) + np.float32(body.fat_mm) * (
        share + np.float32(0.55) * pubis * np.clip(-v, 0, 1))
