from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.body_shape import (
    CENTRE_BEHIND_HEADS_MM,
    SeamField,
    body_field,
    soft_tissue_hu,
)
from femur_nnunet.phantom.shapes import Coordinates


def _line(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> Coordinates:
    return Coordinates(*(part.astype(np.float32)[None, None, :] for part in np.broadcast_arrays(x, y, z)))


def test_the_trunk_is_as_wide_and_deep_as_asked(participant: Participant) -> None:
    body = participant.body
    across = np.linspace(0, 260, 521)
    sideways = body_field(_line(across, CENTRE_BEHIND_HEADS_MM, 30.0), body, 175.0).ravel()
    assert across[np.argmax(sideways > 0)] == pytest.approx(body.half_width_mm, abs=2)
    backwards = body_field(_line(0.0, CENTRE_BEHIND_HEADS_MM + across, 30.0), body, 175.0).ravel()
    assert across[np.argmax(backwards > 0)] == pytest.approx(body.half_depth_mm, abs=2)


def test_below_the_perineum_there_are_two_thighs(participant: Participant) -> None:
    across = np.linspace(-260, 260, 521)
    inside = body_field(_line(across, CENTRE_BEHIND_HEADS_MM, -170.0), participant.body, 175.0).ravel() < 0
    assert np.count_nonzero(np.diff(inside.astype(int)) == 1) == 2
    assert not inside[260]


def test_from_outside_in_come_air_skin_fat_and_muscle(participant: Participant) -> None:
    body = participant.body
    # Along the back, beside the midline, above the pelvis' organs; no seams between muscles.
    depth = np.arange(-10.0, 70.0, 0.5)
    at = _line(60.0, CENTRE_BEHIND_HEADS_MM + body.half_depth_mm - depth, 30.0)
    field = body_field(at, body, 175.0)
    none = np.full(field.shape, 9.0, dtype=np.float32)
    hu = soft_tissue_hu(at, field, body, head_distance_mm=175.0, seams=(none * 0, none),
                        fat_hu=body.fat_hu, voxel_mm=0.5).ravel()
    assert hu[0] == pytest.approx(-1000)
    inner = field.ravel()
    assert hu[np.argmin(np.abs(inner + 1.0))] == pytest.approx(20, abs=8)
    assert hu[np.argmin(np.abs(inner + 2 + body.fat_mm / 2))] == pytest.approx(body.fat_hu, abs=3)


def test_seams_have_unit_spread_and_pass_through_zero() -> None:
    y, x, z = (np.arange(low, -low, 4.0) for low in (-150.0, -200.0, -150.0))
    values = SeamField.draw(np.random.default_rng(3), y, x).at(z, slice(None), slice(None))
    assert values.shape == (z.size, y.size, x.size)
    assert values.std() == pytest.approx(1.0, abs=0.25)
    assert (values > 0).mean() == pytest.approx(0.5, abs=0.2)
