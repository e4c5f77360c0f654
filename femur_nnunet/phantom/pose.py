"""How a participant lies in the scanner, and the frames that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import SIDES, SideName
from femur_nnunet.phantom.tiers import PositioningTier

# With straight legs the femoral shafts converge downwards by about this angle.
SHAFT_OBLIQUITY_DEG = 7.0


@dataclass(frozen=True)
class LegPose:
    """Turn of one leg in degrees: inwards, away from the midline, forwards."""

    rotation_deg: float
    abduction_deg: float
    flexion_deg: float

    @cached_property
    def rotation_matrix(self) -> NDArray[np.float64]:
        """Columns: the axes of a left femur frame in the body frame."""
        return (_about("y", SHAFT_OBLIQUITY_DEG - self.abduction_deg) @ _about("x", -self.flexion_deg)
                @ _about("z", -self.rotation_deg))


@dataclass(frozen=True)
class Pose:
    """Position of a participant during one scan.

    Attributes
    ----------
    yaw_deg, roll_deg : float
        Turn of the trunk about the long axis and about the front-back axis.
    translation_mm_lps : tuple of float
        World position of the point between the head centres.
    legs : dict
        Pose of each leg.
    scan_top_mm : float
        Height of the topmost slice above the head centres.
    """

    yaw_deg: float
    roll_deg: float
    translation_mm_lps: tuple[float, float, float]
    legs: dict[SideName, LegPose]
    scan_top_mm: float

    @cached_property
    def body_rotation(self) -> NDArray[np.float64]:
        """Columns: the axes of the body frame in the world."""
        return _about("z", self.yaw_deg) @ _about("y", self.roll_deg)

    def pelvis_rotation(self, tilt_deg: float) -> NDArray[np.float64]:
        """Columns: the axes of the pelvis frame, which tilts about the line through both head centres."""
        return self.body_rotation @ _about("x", tilt_deg)

    def head_centre_mm(self, side: SideName, head_distance_mm: float) -> NDArray[np.float64]:
        """Return the world position of a femoral head's centre (LPS)."""
        lateral = head_distance_mm / 2 if side == "left" else -head_distance_mm / 2
        return np.asarray(self.translation_mm_lps) + self.body_rotation @ np.array([lateral, 0.0, 0.0])

    def femur_rotation(self, side: SideName) -> NDArray[np.float64]:
        """Columns: the axes of a femur frame in the world; for a right femur a mirror image."""
        return self.body_rotation @ _mirror(side) @ self.legs[side].rotation_matrix

    def hip_rotation(self, side: SideName, tilt_deg: float) -> NDArray[np.float64]:
        """Columns: the axes of a hip frame in the world; for a right hip a mirror image."""
        return self.pelvis_rotation(tilt_deg) @ _mirror(side)


def draw_pose(positioning: PositioningTier, rng: np.random.Generator) -> Pose:
    """Draw how a participant lies during one scan."""
    legs = {side: LegPose(
        rotation_deg=float(rng.normal(positioning.leg_rotation_mean_deg, positioning.leg_rotation_sd_deg)),
        abduction_deg=float(np.clip(rng.normal(positioning.leg_abduction_mean_deg,
                                               positioning.leg_abduction_sd_deg), -4, 16)),
        flexion_deg=float(np.clip(rng.normal(positioning.leg_flexion_mean_deg,
                                             positioning.leg_flexion_sd_deg), 0, 30)),
    ) for side in SIDES}
    shift = rng.normal(0.0, positioning.translation_sd_mm, size=3)
    return Pose(
        yaw_deg=float(rng.normal(0.0, positioning.pelvis_rotation_sd_deg)),
        roll_deg=float(rng.normal(0.0, positioning.pelvis_rotation_sd_deg)),
        translation_mm_lps=(float(shift[0]), float(shift[1]), float(shift[2])),
        legs=legs, scan_top_mm=float(np.clip(rng.normal(50.0, 4.0), 40, 60)))


def _mirror(side: SideName) -> NDArray[np.float64]:
    return np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])


def _about(axis: str, angle_deg: float) -> NDArray[np.float64]:
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    if axis == "x":
        return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    if axis == "y":
        return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
