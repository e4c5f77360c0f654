"""A label map of the analytic kit's own bones, as a user's map of real hips would lie on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from femur_nnunet.phantom.anatomy import SIDES, Participant
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.pelvis_shape import hip_bone, sacrum
from femur_nnunet.phantom.pose import LegPose
from femur_nnunet.phantom.shapes import Coordinates
from femur_nnunet.volume_io.volume import Grid
from femur_nnunet.volume_io.writing import write_nifti

KIT_LEG = LegPose(rotation_deg=-2.0, abduction_deg=3.0, flexion_deg=5.0)
NUMBERS = {"right_femur": 1, "left_femur": 2, "right_hip_bone": 3, "left_hip_bone": 4, "sacrum": 5}


def kit_label_map(person: Participant, spacing_mm: float, lowest_mm: float) -> tuple[np.ndarray, Grid]:
    """Label the bones of a participant on an even grid whose lowest slice lies this far below the heads."""
    x, y, z = (np.arange(low, high, spacing_mm, dtype=np.float32)
               for low, high in ((-160, 160), (-75, 125), (-lowest_mm, 105)))
    world = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])
    labels = np.zeros((len(z), len(y), len(x)), dtype=np.uint8)
    labels[sacrum(world) < 0] = NUMBERS["sacrum"]
    for side in SIDES:
        anatomy = person.femora[side]
        mirror = np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])
        head = mirror @ np.array([person.head_distance_mm / 2, 0.0, 0.0])
        bone = hip_bone(world.moved(mirror, head), head_radius_mm=anatomy.head_radius_mm,
                        joint_gap_mm=anatomy.joint_gap_mm, midline_mm=person.head_distance_mm / 2)
        labels[bone < 0] = NUMBERS[f"{side}_hip_bone"]
        femur = FemurShape(anatomy).field(world.moved(mirror @ KIT_LEG.rotation_matrix, head))
        labels[femur < 0] = NUMBERS[f"{side}_femur"]
    grid = Grid((len(x), len(y), len(z)), (spacing_mm,) * 3, (float(x[0]), float(y[0]), float(z[0])))
    return labels, grid


def write_kit_label_map(path: Path, person: Participant, *, spacing_mm: float = 1.5, lowest_mm: float = 150.0) -> None:
    labels, grid = kit_label_map(person, spacing_mm, lowest_mm)
    write_nifti(path, labels, grid)
