from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.coarse_lattice import CoarseLattice
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.muscles import MUSCLES, HipFrame, muscle_field
from femur_nnunet.phantom.pose import LegPose
from femur_nnunet.phantom.vessels import TUBES, tube_field


def _frame(femur: FemurAnatomy, leg: LegPose) -> HipFrame:
    return HipFrame(np.array([87.0, 0.0, 0.0]), np.eye(3), leg.rotation_matrix, FemurShape(femur), 1.0, 1.0)


@pytest.fixture(scope="module")
def lattice() -> CoarseLattice:
    return CoarseLattice.around((np.arange(-160, 60, 2.0), np.arange(-120, 120, 2.0), np.arange(-10, 200, 2.0)), 4.0)


def _centre(field: object, lattice: CoarseLattice) -> np.ndarray:
    inside = field.values < 0
    at = lattice.coordinates(field.box)
    return np.array([np.broadcast_to(axis, inside.shape)[inside].mean() for axis in (at.x, at.y, at.z)])


def test_the_groups_that_a_reader_looks_for_are_all_there() -> None:
    names = {muscle.name for muscle in MUSCLES}
    assert {"gluteus_maximus", "gluteus_medius", "gluteus_minimus", "tensor_fasciae_latae", "iliopsoas", "sartorius",
            "rectus_femoris", "vastus_lateralis", "vastus_intermedius", "vastus_medialis", "adductor_longus",
            "adductor_brevis", "adductor_magnus", "obturator_internus", "obturator_externus", "biceps_femoris",
            "semitendinosus", "semimembranosus"} <= names


def test_muscles_lie_where_anatomy_puts_them(femur_anatomy: FemurAnatomy, lattice: CoarseLattice) -> None:
    frame = _frame(femur_anatomy, LegPose(10.0, 3.0, 6.0))
    centres = {muscle.name: _centre(muscle_field(muscle, frame, lattice, 1.0, lambda at, _: at), lattice)
               for muscle in MUSCLES}
    assert centres["gluteus_maximus"][1] > 40 > 0 > centres["rectus_femoris"][1]
    assert centres["gluteus_medius"][0] > 100 > centres["iliopsoas"][0]
    assert centres["vastus_lateralis"][0] > centres["vastus_intermedius"][0] > centres["vastus_medialis"][0]
    assert centres["adductor_longus"][0] < centres["vastus_medialis"][0]
    assert centres["biceps_femoris"][1] > centres["adductor_magnus"][1] > centres["sartorius"][1]


def test_thigh_muscles_and_vessels_move_with_the_femur_and_pelvic_ones_stay(
        femur_anatomy: FemurAnatomy, lattice: CoarseLattice) -> None:
    frames = [_frame(femur_anatomy, LegPose(10.0, 3.0, flexion)) for flexion in (0.0, 20.0)]
    by_name = {muscle.name: muscle for muscle in MUSCLES}

    def moved(name: str) -> float:
        first, second = (_centre(muscle_field(by_name[name], frame, lattice, 1.0, lambda at, _: at), lattice)
                         for frame in frames)
        return float(first[1] - second[1])

    assert moved("vastus_lateralis") > 15
    assert abs(moved("rectus_abdominis")) < 0.5
    artery = [tube_field(TUBES[0], frame, lattice) for frame in frames]
    assert _centre(artery[0], lattice)[1] > _centre(artery[1], lattice)[1] + 3


def test_a_muscle_off_the_scan_has_no_field(femur_anatomy: FemurAnatomy) -> None:
    far = CoarseLattice.around((np.arange(600, 640, 2.0), np.arange(-50, 50, 2.0), np.arange(0, 100, 2.0)), 4.0)
    frame = _frame(femur_anatomy, LegPose(0.0, 0.0, 0.0))
    assert muscle_field(MUSCLES[0], frame, far, 1.0, lambda at, _: at) is None
