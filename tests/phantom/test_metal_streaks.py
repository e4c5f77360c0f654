from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.metal_streaks import add_metal_streaks


def _two_rods() -> np.ndarray:
    hu = np.full((3, 160, 240), -1000.0, dtype=np.float32)
    y, x = np.mgrid[:160, :240]
    hu[:, np.hypot((x - 120) / 105, (y - 80) / 70) < 1] = 40.0
    for column in (70, 170):
        hu[1, np.hypot(x - column, y - 80) < 7] = 8000.0
    return hu


def test_a_slice_without_metal_is_left_as_it_is() -> None:
    hu = _two_rods()
    before = hu.copy()
    assert add_metal_streaks(hu, 1.5, np.random.default_rng(1)) == 1
    assert np.array_equal(hu[[0, 2]], before[[0, 2]])
    assert not np.array_equal(hu[1], before[1])


def test_a_dark_band_joins_two_rods_and_metal_itself_stays() -> None:
    hu = _two_rods()
    before = hu.copy()
    add_metal_streaks(hu, 1.5, np.random.default_rng(1))
    between = hu[1, 77:84, 100:140].mean() - 40.0
    elsewhere = hu[1, 30:40, 100:140].mean() - 40.0
    assert between < -60
    assert between < elsewhere - 50
    assert np.array_equal(hu[1][before[1] > 3000], before[1][before[1] > 3000])


def test_streaks_are_the_same_for_the_same_seed() -> None:
    images = [_two_rods() for _ in range(2)]
    for image in images:
        add_metal_streaks(image, 1.5, np.random.default_rng(7))
    assert images[0].tobytes() == images[1].tobytes()
    assert np.abs(images[0][1] - _two_rods()[1]).max() <= 500.0 + 1e-3
    assert images[0][1].mean() == pytest.approx(_two_rods()[1].mean(), abs=60)
