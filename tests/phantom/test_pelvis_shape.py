from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.pelvis_shape import CUP_OPENING, hip_bone
from femur_nnunet.phantom.pose import LegPose
from femur_nnunet.phantom.shapes import Coordinates

MIDLINE_MM = 87.0


@pytest.fixture(scope="module")
def mesh() -> Coordinates:
    x, y, z = (np.arange(low, high, 1.5, dtype=np.float32) for low, high in ((-90, 60), (-70, 85), (-95, 60)))
    return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])


@pytest.fixture(scope="module")
def bone(mesh: Coordinates, femur_anatomy: FemurAnatomy) -> np.ndarray:
    return hip_bone(mesh, head_radius_mm=femur_anatomy.head_radius_mm,
                    joint_gap_mm=femur_anatomy.joint_gap_mm, midline_mm=MIDLINE_MM)


def test_the_cup_keeps_the_joint_gap_from_the_head(bone: np.ndarray, mesh: Coordinates,
                                                   femur_anatomy: FemurAnatomy) -> None:
    from_head = np.sqrt(mesh.x ** 2 + mesh.y ** 2 + mesh.z ** 2) - femur_anatomy.head_radius_mm
    nearest = from_head[bone < 0].min()
    assert femur_anatomy.joint_gap_mm <= nearest + 1e-3
    assert nearest < femur_anatomy.joint_gap_mm + 1.5


def test_the_cup_is_closed_towards_the_body_and_open_towards_the_leg(bone: np.ndarray, mesh: Coordinates,
                                                                    femur_anatomy: FemurAnatomy) -> None:
    shell = np.sqrt(mesh.x ** 2 + mesh.y ** 2 + mesh.z ** 2) - femur_anatomy.head_radius_mm
    near = (shell > 4) & (shell < 8)
    outward = (mesh.x * CUP_OPENING[0] + mesh.y * CUP_OPENING[1] + mesh.z * CUP_OPENING[2])
    assert not (bone[near & (outward > 12)] < 0).any()
    roof = near & (mesh.z > 20) & (mesh.x < 10)
    assert (bone[roof] < 0).mean() > 0.9


def test_the_bone_ends_before_the_midline(bone: np.ndarray, mesh: Coordinates) -> None:
    left_of_midline = np.broadcast_to(mesh.x, bone.shape)[bone < 0] + MIDLINE_MM
    assert left_of_midline.min() > 1.5


@pytest.mark.parametrize(("rotation", "abduction", "flexion"), [(10, 3, 6), (-20, 8, 20), (25, -4, 0)])
def test_the_femur_does_not_pass_through_the_hip_bone_in_usual_poses(
        bone: np.ndarray, mesh: Coordinates, femur_anatomy: FemurAnatomy, rotation: float, abduction: float,
        flexion: float) -> None:
    leg = LegPose(rotation, abduction, flexion)
    femur = FemurShape(femur_anatomy).field(mesh.moved(leg.rotation_matrix, (0, 0, 0)))
    assert not ((femur < 0) & (bone < 0)).any()
