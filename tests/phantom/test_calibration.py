from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.calibration import ROD_RADIUS_MM, CalibrationRods


def test_the_fit_inverts_a_linear_scanner() -> None:
    rods = CalibrationRods.place("K2HPO4", 100.0)
    slope, intercept = rods.fit([1.4 * density - 7.0 for density in rods.densities_mg_cc])
    assert slope == pytest.approx(1 / 1.4)
    assert intercept == pytest.approx(7.0 / 1.4)


def test_rods_are_drawn_with_their_hu_and_area() -> None:
    rods = CalibrationRods.place("HA", 100.0)
    axis = np.arange(-120, 121, 0.5, dtype=np.float32)
    y_axis = np.arange(80, 160, 0.5, dtype=np.float32)
    hu, share = rods.section_hu(axis[None, :], y_axis[:, None], 1.1, 0.5)
    assert not share[y_axis < 99].any()
    x, y = rods.centres_mm_xy[-1]
    near = np.hypot(axis[None, :] - x, y_axis[:, None] - y) < 14
    # Area by the share of pad (8 HU) that the rod replaces: (HU - 8) / (330 - 8).
    area = ((hu[near] - 8.0) / (1.1 * 300 - 8.0)).clip(0, 1).sum() * 0.25
    assert area == pytest.approx(np.pi * ROD_RADIUS_MM ** 2, rel=0.02)


def test_rods_lie_apart_inside_their_pad() -> None:
    rods = CalibrationRods.place("K2HPO4", 50.0)
    x = [centre[0] for centre in rods.centres_mm_xy]
    assert min(np.diff(x)) > 2 * ROD_RADIUS_MM
    assert all(rods.pad_top_mm + ROD_RADIUS_MM < y < rods.bottom_mm - ROD_RADIUS_MM
               for _, y in rods.centres_mm_xy)
    assert sum(x) == pytest.approx(0)
