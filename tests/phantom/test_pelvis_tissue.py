from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.pelvis_tissue import pelvic_cortex, pelvic_density, sacral_foramina
from femur_nnunet.phantom.shapes import Coordinates

CUP_MM = 26.0


def _cloud(centre: tuple[float, float, float]) -> Coordinates:
    points = (np.random.default_rng(2).uniform(-3, 3, size=(800, 3)) + centre).T.astype(np.float32)
    return Coordinates(points[0], points[1], points[2])


def test_the_cup_s_roof_is_thicker_and_denser_than_the_ischium(participant: Participant) -> None:
    roof, ischium = _cloud((0, 0, CUP_MM + 5)), _cloud((-28, 36, -50))
    thick = [pelvic_cortex(at, participant.bone, 1, cup_radius_mm=CUP_MM).mean() for at in (roof, ischium)]
    depth = np.full(800, 5.0, dtype=np.float32)
    dense = [pelvic_density(at, depth, participant.bone, 1, cup_radius_mm=CUP_MM).mean() for at in (roof, ischium)]
    assert thick[0] > 1.4 * thick[1]
    assert dense[0] > 1.3 * dense[1]


def test_foramina_come_in_mirrored_pairs_beside_the_midline() -> None:
    x = np.linspace(-40, 40, 161, dtype=np.float32)
    z = np.arange(10, 100, 0.5, dtype=np.float32)
    at = Coordinates(x[None, None, :], np.full((1, 1, 1), 75, dtype=np.float32), z[:, None, None])
    open_ = sacral_foramina(at)[:, 0, :] < 0
    assert np.array_equal(open_, open_[:, ::-1])
    assert not open_[:, 80].any()
    rows = open_[:, x > 5].any(axis=1)
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) in (3, 4)
    # Tubes of 9.2 mm across, every 22 mm.
    assert rows.mean() == pytest.approx(9.2 / 22, abs=0.08)
