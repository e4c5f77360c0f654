"""The bones of one participant as surfaces: what the scene asks for, and the analytic answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import Participant, SideName
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.pelvis_shape import hip_bone, sacrum
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.shapes import Coordinates, FloatArray

Corners = NDArray[np.float64]
"""Shape (2, 3): lowest and highest x, y, z of a box."""


@dataclass(frozen=True)
class LegTurn:
    """How a femur lies.

    Attributes
    ----------
    rotation : ndarray
        Columns: the axes of the femur frame in the world; for a right femur a mirror image.
    share : float
        Share of the asked turn that the joint allows, 1 for all of it.
    """

    rotation: NDArray[np.float64]
    share: float = 1.0


class BoneGeometry(Protocol):
    """Surfaces of femora, hip bones and sacrum; frames as in ``femur_shape`` and ``pelvis_shape``."""

    @property
    def origin(self) -> dict[str, Any]:
        """Where the shapes come from, for the truth."""
        ...

    def femur(self, side: SideName) -> FemurShape:
        """Return a femur in its own frame."""
        ...

    def femur_box_mm(self, side: SideName) -> Corners:
        """Return the box in the femur frame outside which there is no femur."""
        ...

    def leg_turn(self, side: SideName, pose: Pose) -> LegTurn:
        """Return how the femur lies in this pose."""
        ...

    def hip_box_mm(self, side: SideName) -> Corners:
        """Return the box in the hip frame that holds what is drawn of the hip bone."""
        ...

    def hip_field(self, side: SideName, at: Coordinates) -> FloatArray:
        """Return the field of a hip bone at points of the hip frame."""
        ...

    def sacrum_box_mm(self) -> Corners:
        """Return the box in the pelvis frame that holds the sacrum."""
        ...

    def sacrum_field(self, at: Coordinates) -> FloatArray:
        """Return the field of the sacrum at points of the pelvis frame."""
        ...


@dataclass(frozen=True)
class AnalyticBones:
    """The embedded shapes, which need no data."""

    participant: Participant

    @property
    def origin(self) -> dict[str, Any]:
        """Where the shapes come from."""
        return {"kind": "analytic"}

    def femur(self, side: SideName) -> FemurShape:
        """Return a femur in its own frame."""
        return FemurShape(self.participant.femora[side])

    def femur_box_mm(self, side: SideName) -> Corners:
        """Return a box with room for every trochanter."""
        femur = self.femur(side)
        anatomy = femur.anatomy
        reach = anatomy.head_radius_mm + 8.0
        return np.array([
            [-reach, -reach, -260.0],
            [anatomy.offset_mm + anatomy.trochanter_width_mm + 16.0,
             anatomy.offset_mm * 0.45 + 34.0 * femur.scale, max(reach, anatomy.trochanter_height_mm + 8.0)]])

    def leg_turn(self, side: SideName, pose: Pose) -> LegTurn:
        """Return how the femur lies; the analytic joint allows every pose."""
        return LegTurn(pose.femur_rotation(side))

    def hip_box_mm(self, side: SideName) -> Corners:
        """Return the box from the midline to beyond the cup."""
        size = self.femur(side).scale
        return np.array([[-self.participant.head_distance_mm / 2, -65 * size, -90 * size],
                         [55 * size, 75 * size, 140.0]])

    def hip_field(self, side: SideName, at: Coordinates) -> FloatArray:
        """Return the field of the hip bone."""
        anatomy = self.participant.femora[side]
        return hip_bone(at, head_radius_mm=anatomy.head_radius_mm, joint_gap_mm=anatomy.joint_gap_mm,
                        midline_mm=self.participant.head_distance_mm / 2)

    def sacrum_box_mm(self) -> Corners:
        """Return the box behind the head centres."""
        return np.array([[-85.0, 55.0, -35.0], [85.0, 125.0, 110.0]])

    def sacrum_field(self, at: Coordinates) -> FloatArray:
        """Return the field of the sacrum."""
        return sacrum(at, self.femur("left").scale)


def bones_of(participant: Participant) -> BoneGeometry:
    """Return the bones that a participant was given, or the analytic ones."""
    return participant.bones_from_map or AnalyticBones(participant)
