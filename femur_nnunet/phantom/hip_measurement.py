"""Measurements of both hips of one label map: landmarks of the femora, head distance, joint gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import spatial

from femur_nnunet.landmarks.femur_landmarks import FemurLandmarks, bone_volume, find_landmarks, surface_points
from femur_nnunet.landmarks.sections import Vector
from femur_nnunet.phantom.anatomy import SIDES, SideName
from femur_nnunet.phantom.label_maps import Bone, HipLabelMap

# The dome of the joint, where head and cup face each other in everybody: a cone about this direction of a
# left hip (a little medially, backwards, up).
DOME_DIRECTION = np.array([-0.2, 0.1, 0.97]) / np.linalg.norm([-0.2, 0.1, 0.97])
DOME_CONE_DEG = 40.0


@dataclass(frozen=True)
class HipMeasurement:
    """One subject.

    Attributes
    ----------
    name : str
        Name of the label map.
    femora : dict
        Landmarks by side; anteversion refers to the line through both head centres.
    head_distance_mm : float
        Distance of the head centres.
    joint_gap_mm, narrowest_gap_mm : dict
        By side: median distance of the head's surface from the cup's in the dome; shortest distance
        between any points of femur and hip bone.
    axial_version_deg : dict
        By side: angle of the neck against the line through both heads, seen along the image's z axis;
        unlike anteversion it needs no shaft.
    """

    name: str
    femora: dict[SideName, FemurLandmarks]
    head_distance_mm: float
    joint_gap_mm: dict[SideName, float]
    narrowest_gap_mm: dict[SideName, float]
    axial_version_deg: dict[SideName, float]


def measure_hips(hips: HipLabelMap, *, assumed_shaft_axis: Vector | None = None) -> HipMeasurement:
    """Measure both hips of a label map.

    Parameters
    ----------
    hips : HipLabelMap
        The map, cleaned.
    assumed_shaft_axis : ndarray, optional
        Direction downwards of a left femur's shaft, taken where too little of it is in view.
    """
    femora: dict[SideName, FemurLandmarks] = {}
    line: Vector | None = None
    for attempt in range(2):
        for side in SIDES:
            bone = hips.femora[side]
            assumed = None if assumed_shaft_axis is None else (
                assumed_shaft_axis * np.array([1.0 if side == "left" else -1.0, 1.0, 1.0]))
            if attempt == 0 or femora[side].shaft_axis is not None:
                femora[side] = find_landmarks(_uncut(bone), hips.spacing_mm_zyx, side, head_line=line,
                                              origin_mm_xyz=_uncut_origin(bone, hips), assumed_shaft_axis=assumed,
                                              subject=f"{hips.name}, {side} femur")
        line = femora["left"].head_centre_mm - femora["right"].head_centre_mm
    heads = femora["left"].head_centre_mm - femora["right"].head_centre_mm
    gaps = {side: joint_gaps(hips, side, femora[side]) for side in SIDES}
    return HipMeasurement(hips.name, femora, float(np.linalg.norm(heads)), {s: gaps[s][0] for s in SIDES},
                          {s: gaps[s][1] for s in SIDES}, {s: _axial_version(femora[s], heads) for s in SIDES})


def joint_gaps(hips: HipLabelMap, side: SideName, landmarks: FemurLandmarks) -> tuple[float, float]:
    """Return the median gap in the dome and the shortest one, between the sub-voxel surfaces of both bones."""
    surfaces = [surface_points(bone_volume(bone.mask, hips.spacing_mm_zyx, bone.origin_mm_xyz, mirrored=False))
                for bone in (hips.femora[side], hips.hip_bones[side])]
    centre, radius = landmarks.head_centre_mm, landmarks.head_radius_mm
    femur, cup = (points[np.linalg.norm(points - centre, axis=1) < radius + 15.0] for points in surfaces)
    distance = spatial.cKDTree(cup).query(femur)[0]
    offsets = femur - centre
    direction = DOME_DIRECTION * np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    on_head = np.abs(np.linalg.norm(offsets, axis=1) - radius) < 3.0
    dome = on_head & (offsets @ direction > np.cos(np.radians(DOME_CONE_DEG)) * np.linalg.norm(offsets, axis=1))
    return float(np.median(distance[dome])), float(distance.min())


def _axial_version(femur: FemurLandmarks, line: Vector) -> float:
    outwards = line if femur.side == "left" else -line
    turn = np.arctan2(femur.neck_axis[1], abs(femur.neck_axis[0])) - np.arctan2(outwards[1], abs(outwards[0]))
    return float(np.degrees(turn))


def _uncut(bone: Bone) -> np.ndarray:
    """Return the mask with a slice of air below it, unless the image cuts the bone there."""
    return bone.mask if bone.touches["bottom"] else np.pad(bone.mask, ((1, 0), (0, 0), (0, 0)))


def _uncut_origin(bone: Bone, hips: HipLabelMap) -> tuple[float, float, float]:
    x, y, z = bone.origin_mm_xyz
    return x, y, z if bone.touches["bottom"] else z - hips.spacing_mm_zyx[0]
