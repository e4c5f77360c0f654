from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.implants import PROSTHETIC_HEAD_RADIUS_MM, TITANIUM_HU, implant_parts, resected
from femur_nnunet.phantom.pelvis_shape import CUP_OPENING
from femur_nnunet.phantom.shapes import Coordinates


def _mesh() -> Coordinates:
    x, y, z = (np.arange(low, high, 2.0, dtype=np.float32) for low, high in ((-40, 90), (-45, 55), (-180, 45)))
    return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])


def test_a_nail_runs_inside_the_canal_of_the_shaft(femur_anatomy: FemurAnatomy) -> None:
    shape, at = FemurShape(femur_anatomy), _mesh()
    (field, hu), = implant_parts("nail", shape, at, CUP_OPENING)
    assert hu == TITANIUM_HU
    low = np.broadcast_to(at.z < -90, field.shape)
    inside = (field < 0) & low
    assert inside.sum() > 500
    assert (shape.field(at)[inside] < -3).all()


def test_a_prosthetic_head_has_the_volume_of_its_sphere(femur_anatomy: FemurAnatomy) -> None:
    parts = implant_parts("prosthesis", FemurShape(femur_anatomy), _mesh(), CUP_OPENING)
    head = parts[-1][0]
    assert (head < 0).sum() * 8.0 == pytest.approx(4 / 3 * np.pi * PROSTHETIC_HEAD_RADIUS_MM ** 3, rel=0.03)


def test_the_cut_takes_the_head_and_leaves_trochanter_and_shaft(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    places = np.array([[0, 0, 0], shape.neck_axis * 20, shape.shaft_point + np.array([15, 0, -20]),
                       shape.shaft_point + np.array([0, 0, -120])], dtype=np.float32).T
    gone = resected(shape, Coordinates(places[0], places[1], places[2])) < 0
    assert gone.tolist() == [True, True, False, False]
