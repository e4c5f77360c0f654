"""The analytic kit's own bones as a prepared label map: sampled from their fields, without a map to measure."""

from __future__ import annotations

import numpy as np
from kit_label_map import KIT_LEG

from femur_nnunet.phantom.anatomy import SIDES, Participant
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.lattice import Lattice
from femur_nnunet.phantom.map_preparation import PreparedFemur, PreparedMap
from femur_nnunet.phantom.pelvis_shape import hip_bone, sacrum
from femur_nnunet.phantom.shapes import Coordinates

STEP_MM = 3.0


def kit_prepared_map(person: Participant, name: str = "kit") -> PreparedMap:
    femora, hips = {}, {}
    for side in SIDES:
        anatomy = person.femora[side]
        shape = FemurShape(anatomy)
        points = np.random.default_rng(1).normal(size=(200, 3))
        surface = points / np.linalg.norm(points, axis=1, keepdims=True) * anatomy.head_radius_mm
        femora[side] = PreparedFemur(
            _sampled(shape.field, (-60, -60, -260), (110, 60, 50)), KIT_LEG.rotation_matrix, anatomy,
            shape.neck_axis, shape.shaft_point, surface.astype(np.float32), None, False)
        hips[side] = _sampled(lambda at, anatomy=anatomy: hip_bone(
            at, head_radius_mm=anatomy.head_radius_mm, joint_gap_mm=anatomy.joint_gap_mm,
            midline_mm=person.head_distance_mm / 2), (-100, -90, -110), (80, 120, 110))
    return PreparedMap(name, "0" * 64, person.head_distance_mm, femora, hips,
                       _sampled(sacrum, (-70, -20, -30), (70, 120, 110)))


def _sampled(field, low, high) -> Lattice:
    x, y, z = (np.arange(start, end, STEP_MM, dtype=np.float32) for start, end in zip(low, high, strict=True))
    at = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])
    return Lattice.store(np.broadcast_to(field(at), (z.size, y.size, x.size)), STEP_MM, tuple(map(float, low)))
