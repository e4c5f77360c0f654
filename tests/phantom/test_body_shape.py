from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.body_shape import CENTRE_BEHIND_HEADS_MM, LegLean, body_field, fat_depth
from femur_nnunet.phantom.shapes import Coordinates


def _line(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> Coordinates:
    axes = (np.atleast_1d(part).astype(np.float32) for part in np.broadcast_arrays(x, y, z))
    return Coordinates(*(axis[None, None, :] for axis in axes))


def test_the_trunk_is_as_wide_and_deep_as_asked(participant: Participant) -> None:
    body = participant.body
    across = np.linspace(0, 260, 521)
    sideways = body_field(_line(across, CENTRE_BEHIND_HEADS_MM, 30.0), body, 175.0).ravel()
    assert across[np.argmax(sideways > 0)] == pytest.approx(body.half_width_mm, abs=2)
    # Above the cleft between the buttocks.
    backwards = body_field(_line(0.0, CENTRE_BEHIND_HEADS_MM + across, 70.0), body, 175.0).ravel()
    assert across[np.argmax(backwards > 0)] == pytest.approx(body.half_depth_mm, abs=2)


def test_below_the_perineum_there_are_two_thighs(participant: Participant) -> None:
    across = np.linspace(-260, 260, 521)
    inside = body_field(_line(across, CENTRE_BEHIND_HEADS_MM, -170.0), participant.body, 175.0).ravel() < 0
    assert np.count_nonzero(np.diff(inside.astype(int)) == 1) == 2
    assert not inside[260]


def test_a_face_flattens_the_back_and_leaves_the_front(participant: Participant) -> None:
    body = participant.body
    plane = CENTRE_BEHIND_HEADS_MM + body.half_depth_mm - 10.0
    across = np.linspace(0, 200, 401)
    back = body_field(_line(60.0, across, 30.0), body, 175.0, back_plane_mm=plane).ravel()
    assert across[np.argmax(back > 0)] <= plane + 0.5
    front = [body_field(_line(60.0, -across, 30.0), body, 175.0, back_plane_mm=face).ravel()
             for face in (None, plane)]
    assert np.argmax(front[0] > 0) == np.argmax(front[1] > 0)


def test_a_thigh_follows_its_leg_sideways_and_forwards(participant: Participant) -> None:
    lean = LegLean(left_xy=(0.2, -0.3), right_xy=(0.0, 0.0))
    x = np.linspace(-260, 260, 1041)

    def middle(side: float, lean_of: LegLean) -> float:
        field = body_field(_line(x, CENTRE_BEHIND_HEADS_MM, -170.0), participant.body, 175.0, lean=lean_of).ravel()
        return float(x[(field < 0) & (np.sign(x) == side)].mean())

    # 170 mm below the heads a lean of 0.2 moves the thigh by 34 mm.
    assert middle(1.0, lean) - middle(1.0, LegLean()) == pytest.approx(34.0, abs=3.0)
    assert middle(-1.0, lean) == pytest.approx(middle(-1.0, LegLean()), abs=0.6)


def test_fat_is_thicker_over_the_buttocks_than_in_front_of_the_thighs(participant: Participant) -> None:
    depth = participant.body.half_depth_mm
    buttock = fat_depth(_line(60.0, depth, 0.0), participant.body).item()
    thigh = fat_depth(_line(60.0, -depth, -130.0), participant.body).item()
    assert buttock > 1.8 * thigh
    assert buttock == pytest.approx(participant.body.fat_mm * 1.26 + participant.body.skin_mm, rel=0.02)
