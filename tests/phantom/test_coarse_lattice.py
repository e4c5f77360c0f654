from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.coarse_lattice import WHOLE, CoarseLattice, LatticeField, cubic_weights, draw_noise


def _axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.arange(-20, 21, 1.0), np.arange(-30, 31, 0.7), np.arange(-35, 36, 0.7)


def _fine(lattice: CoarseLattice) -> tuple[slice, slice, slice]:
    parts = [slice(0, weights.shape[0]) for weights in lattice.weights]
    return parts[0], parts[1], parts[2]


def test_a_sphere_s_distance_comes_back_within_a_tenth_of_a_millimetre() -> None:
    z, y, x = _axes()
    lattice = CoarseLattice.around((z, y, x), 4.0)
    at = lattice.coordinates()
    values = np.sqrt(at.x ** 2 + at.y ** 2 + at.z ** 2) - np.float32(15)
    fine = lattice.interpolate(LatticeField(values, WHOLE), _fine(lattice))
    exact = np.sqrt(x[None, None, :] ** 2 + y[None, :, None] ** 2 + z[:, None, None] ** 2) - 15
    assert np.abs(fine - exact)[np.abs(exact) < 3].max() < 0.1


def test_linear_fields_are_exact_and_weights_sum_to_one() -> None:
    where = np.linspace(1, 8, 57)
    weights = cubic_weights(where, 10)
    assert weights.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert weights @ np.arange(10.0) == pytest.approx(where, abs=1e-5)


def test_a_part_of_the_lattice_gives_the_same_values_where_it_suffices() -> None:
    lattice = CoarseLattice.around(_axes(), 4.0)
    values = np.random.default_rng(1).normal(size=lattice.shape).astype(np.float32)
    box = (slice(2, 9), slice(3, 14), slice(5, 16))
    inner = lattice.fine_slices(box)
    assert inner is not None
    part = lattice.interpolate(LatticeField(values[box], box), inner)
    whole = lattice.interpolate(LatticeField(values, WHOLE), inner)
    assert part == pytest.approx(whole, abs=1e-4)


def test_noise_moves_with_the_body_and_has_unit_spread() -> None:
    z, y, x = _axes()
    fields = []
    for shift in (0.0, 7.0):
        lattice, values = draw_noise(np.random.default_rng(2), (z, y, x + shift), (shift, 0.0, 0.0),
                                     (12.0, 6.0, 6.0))
        fields.append(lattice.interpolate(LatticeField(values, WHOLE), _fine(lattice)))
    assert fields[0] == pytest.approx(fields[1], abs=1e-4)
    assert fields[0].std() == pytest.approx(1.0, abs=0.15)
