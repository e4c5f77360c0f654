"""The bones of one participant made from a label map: warped, brought to size, turned at the hip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from femur_nnunet.phantom.anatomy import LEAST_CLEARANCE_MM, SIDES, FemurAnatomy, Participant, SideName
from femur_nnunet.phantom.anatomy_file import AnatomyFile
from femur_nnunet.phantom.bone_geometry import Corners, LegTurn
from femur_nnunet.phantom.elastic import ElasticWarp
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.lattice import Lattice
from femur_nnunet.phantom.map_preparation import PreparedFemur, PreparedMap, coordinates_of
from femur_nnunet.phantom.pose import SHAFT_OBLIQUITY_DEG, LegPose, Pose
from femur_nnunet.phantom.shapes import Coordinates, FloatArray

Vector = NDArray[np.float64]
WARP_SD_MM = 2.5
# Where a turned femur comes nearer to the cup than the least clearance, or than it is in the map itself, the
# scene takes bone off the cup. A turn that would take off more than this much is reduced.
MOST_TAKEN_OFF_MM = 0.8
_TURN_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0)
LEAST_SIZE_FACTOR, LARGEST_SIZE_FACTOR = 0.88, 1.12
_LOWEST_MM = -260.0


@dataclass(frozen=True)
class MappedFemur(FemurShape):
    """A femur from a label map: its surface is a lattice, its axes come from landmarks.

    Attributes
    ----------
    anatomy : FemurAnatomy
        Landmarks after warp and size factor.
    own_neck_axis, own_shaft_point : ndarray
        In the femur frame.
    prepared : PreparedFemur
        The map's bone.
    rotation : ndarray
        Columns: the axes of this femur frame in the hip frame as the leg lay in the map.
    body : WarpedBody
        Warp and size.
    side : {"left", "right"}
        Which one.
    """

    own_neck_axis: Vector
    own_shaft_point: Vector
    prepared: PreparedFemur
    rotation: Vector
    body: WarpedBody
    side: SideName

    @cached_property
    def neck_axis(self) -> Vector:
        """Unit vector from the head centre along the neck to the shaft."""
        return self.own_neck_axis

    @cached_property
    def neck_length_mm(self) -> float:
        """Distance from the head centre along the neck to where it passes the shaft axis most closely."""
        horizontal = self.own_neck_axis[:2]
        return float(self.own_shaft_point[:2] @ horizontal / (horizontal @ horizontal))

    @cached_property
    def shaft_point(self) -> Vector:
        """Where the shaft axis passes the height of the head centre."""
        return self.own_shaft_point

    def field(self, at: Coordinates) -> FloatArray:
        """Return the field of the periosteal surface, negative inside."""
        unwarped = self.body.unwarp(at.moved(self.rotation.T, (0, 0, 0)), self.side)
        inner = unwarped.moved(self.prepared.rotation, (0, 0, 0))
        return np.float32(self.body.size) * self.prepared.lattice.at(inner)


@dataclass(frozen=True)
class WarpedBody:
    """Size factor and elastic warp of a whole pelvis with both femora.

    Attributes
    ----------
    size : float
        Factor on every length.
    warp : ElasticWarp
        Displacement in the map's own size.
    head_at_mm : float
        Distance of the head centres from the midline in the map.
    warp_sd_mm : float
        Standard deviation of the displacement far from the joints.
    """

    size: float
    warp: ElasticWarp
    head_at_mm: float
    warp_sd_mm: float = WARP_SD_MM

    def unwarp(self, at: Coordinates, side: SideName | None) -> Coordinates:
        """Return where points lie in the map: of the hip frame of a side, or of the pelvis frame (None)."""
        scale = np.float32(1.0 / self.size)
        x, y, z = at.x * scale, at.y * scale, at.z * scale
        sign = np.float32(-1.0 if side == "right" else 1.0)
        shift = np.float32(0.0 if side is None else self.head_at_mm)
        dx, dy, dz = self.warp.at(Coordinates(sign * (x + shift), y, z))
        return Coordinates(x + sign * dx, y + dy, z + dz)

    def rewarp(self, points_mm: NDArray[np.floating], side: SideName) -> Vector:
        """Return where points (n, 3) of the map's hip frame come to lie."""
        target = np.asarray(points_mm, dtype=np.float64)
        moved = target * self.size
        for _ in range(8):
            found = self.unwarp(coordinates_of(moved), side)
            moved = moved + self.size * (target - np.column_stack([found.x, found.y, found.z]))
        return moved


@dataclass(frozen=True)
class MappedBones:
    """All bones of a participant whose anatomy is that of a label map."""

    prepared: PreparedMap
    body: WarpedBody
    map_rotation_deg: float
    pelvic_tilt_deg: float

    @property
    def origin(self) -> dict[str, Any]:
        """Which map, its hash, and by what factor it was brought to size."""
        return {"kind": "label map", "map": self.prepared.name, "sha256": self.prepared.sha256,
                "size_factor": round(self.body.size, 5)}

    @property
    def head_distance_mm(self) -> float:
        """Distance of the head centres."""
        return self.prepared.head_distance_mm * self.body.size

    @cached_property
    def _femora(self) -> dict[SideName, MappedFemur]:
        return {side: self._warped_femur(side) for side in SIDES}

    def femur(self, side: SideName) -> FemurShape:
        """Return a femur in its own frame."""
        return self._femora[side]

    def femur_box_mm(self, side: SideName) -> Corners:
        """Return the box of the lattice with room for the warp, down to below every field of view."""
        ends = self._femora[side].prepared.lattice.ends_mm * self.body.size
        margin = 3.0 * self.body.warp_sd_mm
        ends += np.array([[-margin], [margin]])
        ends[0, 2] = min(ends[0, 2], _LOWEST_MM)
        return np.asarray(ends)

    def leg_turn(self, side: SideName, pose: Pose) -> LegTurn:
        """Turn the leg about the head from the map's own pose to the asked one, as far as the joint allows."""
        femur = self._femora[side]
        own = own_leg_pose(femur.rotation, self.map_rotation_deg)
        turn = Rotation.from_matrix(pose.legs[side].rotation_matrix @ own.rotation_matrix.T).as_rotvec()
        points = self._contact_points(side)
        least = min(LEAST_CLEARANCE_MM, self._clearance(side, points, femur.rotation)) - MOST_TAKEN_OFF_MM
        mirror = np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])
        # From the body frame to the hip frame: the pelvis tilts under the legs.
        to_hip = mirror @ pose.pelvis_rotation(self.pelvic_tilt_deg).T @ pose.body_rotation @ mirror
        rotation, share = femur.rotation, 0.0
        for share in _TURN_SHARES:
            rotation = Rotation.from_rotvec(share * turn).as_matrix() @ femur.rotation
            if self._clearance(side, points, to_hip @ rotation) >= least:
                break
        return LegTurn(pose.body_rotation @ mirror @ rotation, share)

    def hip_box_mm(self, side: SideName) -> Corners:
        """Return the box of the hip bone's lattice."""
        return self._grown(self.prepared.hip_bones[side])

    def hip_field(self, side: SideName, at: Coordinates) -> FloatArray:
        """Return the field of a hip bone."""
        return np.float32(self.body.size) * self.prepared.hip_bones[side].at(self.body.unwarp(at, side))

    def sacrum_box_mm(self) -> Corners:
        """Return the box of the sacrum's lattice."""
        return self._grown(self.prepared.sacrum)

    def sacrum_field(self, at: Coordinates) -> FloatArray:
        """Return the field of the sacrum."""
        return np.float32(self.body.size) * self.prepared.sacrum.at(self.body.unwarp(at, None))

    def _grown(self, lattice: Lattice) -> Corners:
        return np.asarray(lattice.ends_mm * self.body.size + np.array([[-3.0], [3.0]]) * self.body.warp_sd_mm)

    def _contact_points(self, side: SideName) -> Vector:
        """Return the femur's surface near the joint in its own frame."""
        femur = self._femora[side]
        in_hip = femur.prepared.surface_mm @ femur.prepared.rotation.T
        return np.asarray(self.body.rewarp(in_hip, side) @ femur.rotation)

    def _clearance(self, side: SideName, points_mm: Vector, rotation: Vector) -> float:
        return float(self.hip_field(side, coordinates_of(points_mm @ rotation.T)).min())

    def _warped_femur(self, side: SideName) -> MappedFemur:
        """Carry the map's landmarks through size and warp."""
        prepared, anatomy = self.prepared.femora[side], self.prepared.femora[side].anatomy
        foot = prepared.shaft_point
        lower = 72.0 * anatomy.head_radius_mm / 22.5
        marks = np.array([prepared.neck_axis * 1.05 * anatomy.head_radius_mm,
                          foot - [0, 0, lower], foot - [0, 0, lower + 55.0]])
        neck, upper, down = self.body.rewarp(marks @ prepared.rotation.T, side)
        axis = (upper - down) / np.linalg.norm(upper - down)
        x = prepared.rotation[:, 0] - (prepared.rotation[:, 0] @ axis) * axis
        x /= np.linalg.norm(x)
        rotation = np.column_stack([x, np.cross(axis, x), axis])
        neck_axis = rotation.T @ (neck / np.linalg.norm(neck))
        point = rotation.T @ (upper - (upper @ axis) * axis)
        return MappedFemur(self._measured(anatomy, neck_axis, point), neck_axis, point, prepared, rotation, self.body,
                           side)

    def _measured(self, anatomy: FemurAnatomy, neck_axis: Vector, shaft_point: Vector) -> FemurAnatomy:
        lengths = {name: getattr(anatomy, name) * self.body.size for name in anatomy.__dataclass_fields__
                   if name.endswith("_mm")}
        angle = float(np.degrees(np.arccos(np.clip(neck_axis[2], -1, 1))))
        return replace(anatomy, **{
            **lengths, "offset_mm": float(np.linalg.norm(shaft_point)), "neck_shaft_angle_deg": angle,
            "anteversion_deg": float(np.degrees(np.arctan2(neck_axis[1], neck_axis[0])))})


def own_leg_pose(rotation: Vector, rotation_deg: float) -> LegPose:
    """Return how a leg lies whose femur frame has these axes in the hip frame; its rotation is an estimate."""
    up = rotation[:, 2]
    return LegPose(rotation_deg, abduction_deg=SHAFT_OBLIQUITY_DEG - float(np.degrees(np.arctan2(up[0], up[2]))),
                   flexion_deg=float(np.degrees(np.arcsin(np.clip(up[1], -1, 1)))))


def with_bones_of(participant: Participant, prepared: PreparedMap, distributions: AnatomyFile,
                  rng: np.random.Generator, *, bone_size_factor: float = 1.0,
                  warp_sd_mm: float = WARP_SD_MM) -> Participant:
    """Give a participant the bones of a label map.

    The map is brought half the way (on a logarithmic scale) from its own size to that of the participant's
    drawn femora, which follow from sex; the population's factor then comes on top.

    Parameters
    ----------
    participant : Participant
        Drawn as usual; sex, age, density and body stay, femora and head distance are replaced.
    prepared : PreparedMap
        The map.
    distributions : AnatomyFile
        Gives the mean rotation of the legs in the maps.
    rng : numpy.random.Generator
        Source of the elastic variation.
    bone_size_factor : float
        Factor of the site's population, which the drawn femora hold already.
    warp_sd_mm : float
        Standard deviation of the elastic variation far from the joints.
    """
    drawn = participant.femora["left"].head_radius_mm / bone_size_factor
    own = float(np.mean([prepared.femora[side].anatomy.head_radius_mm for side in SIDES]))
    size = float(np.clip(np.sqrt(drawn / own), LEAST_SIZE_FACTOR, LARGEST_SIZE_FACTOR)) * bone_size_factor
    warp = ElasticWarp.draw(rng, sd_mm=warp_sd_mm, head_at_mm=prepared.head_distance_mm / 2,
                            head_radius_mm=max(prepared.femora[side].anatomy.head_radius_mm for side in SIDES))
    body = WarpedBody(size, warp, prepared.head_distance_mm / 2, warp_sd_mm)
    bones = MappedBones(prepared, body, distributions.leg_rotation_of_maps_deg, participant.pelvic_tilt_deg)
    return replace(participant, femora={side: bones.femur(side).anatomy for side in SIDES},
                   head_distance_mm=bones.head_distance_mm, bones_from_map=bones)
