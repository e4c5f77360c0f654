"""The body's midline and width, with tables and hands about."""

from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.body import find_body
from femur_nnunet.volume_io.volume import Grid, Volume

SPACING = (2.0, 2.0, 5.0)


def body_volume(*, centre_x: float = 100.0, half_width_mm: float = 160.0) -> Volume:
    """An elliptic cylinder of muscle in air, on 2 x 2 x 5 mm; ``centre_x`` in columns."""
    array = np.full((12, 120, 200), -1000, dtype=np.int16)
    y, x = np.mgrid[:120, :200]
    inside = ((x - centre_x) * 2 / half_width_mm) ** 2 + ((y - 50) * 2 / 80) ** 2 <= 1
    array[:, inside] = 40
    return Volume(array, Grid((200, 120, 12), SPACING, (0, 0, 0)))


@pytest.mark.parametrize("centre_x", [90.0, 100.0, 111.0])
def test_the_midline_is_the_ellipse_s_centre(centre_x: float) -> None:
    body = find_body(body_volume(centre_x=centre_x))

    assert body.midline_x == pytest.approx(centre_x, abs=2)  # a coarse voxel of 4 mm is 2 columns
    assert body.width_mm == pytest.approx(320, abs=12)


def test_a_table_does_not_move_the_midline() -> None:
    volume = body_volume()
    volume.array[:, 92:94, 120:200] = 200  # a table top 4 mm thick that touches nothing but its own side
    volume.array[:, 90:92, 100:200] = 200  # and lies against the skin

    assert find_body(volume).midline_x == pytest.approx(100, abs=2)


def test_two_separate_thighs_are_one_body() -> None:
    volume = body_volume()
    volume.array[:, :, 96:104] = -1000

    body = find_body(volume)

    assert body.midline_x == pytest.approx(100, abs=2)
    assert body.width_mm == pytest.approx(320, abs=12)


def test_a_hand_beside_the_hip_is_left_out() -> None:
    volume = body_volume(centre_x=90)
    volume.array[:4, 40:60, 180:198] = 40

    body = find_body(volume)

    assert body.midline_x == pytest.approx(90, abs=2)
    assert body.width_mm == pytest.approx(320, abs=12)


def test_an_empty_image_has_no_body() -> None:
    volume = body_volume()
    volume.array[:] = -1000

    with pytest.raises(FemurError, match="row 7: found no body"):
        find_body(volume, subject="row 7")
