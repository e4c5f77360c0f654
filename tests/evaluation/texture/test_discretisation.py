from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.texture.discretisation import levels_of_fixed_number, levels_of_fixed_width
from femur_nnunet.evaluation.texture.options import TextureOptions


def test_bins_of_one_width_begin_at_the_lowest_value():
    hu = np.array([-500.0, -475.001, -475.0, 0.0, 24.9, 25.0])
    assert levels_of_fixed_width(hu, 25.0, -500.0).tolist() == [1, 1, 2, 21, 21, 22]


def test_bins_of_one_number_end_with_the_maximum():
    assert levels_of_fixed_number(np.array([10, 12, 14, 16, 18, 20]), 5).tolist() == [1, 2, 3, 4, 5, 5]


def test_a_constant_region_has_one_level():
    assert levels_of_fixed_number(np.full(3, 7.0), 32).tolist() == [1, 1, 1]


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(-1000, 1000)), st.integers(-5000, 5000),
       st.sampled_from([1, 2, 4, 8]), st.integers(2, 64))
def test_a_fixed_number_of_bins_knows_neither_offset_nor_scale(values, offset, scale, bins):
    assert (levels_of_fixed_number(values * scale + offset, bins) == levels_of_fixed_number(values, bins)).all()


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(-500, 3000)), st.integers(1, 20))
def test_a_fixed_width_moves_by_whole_bins_with_the_offset(values, bins):
    moved = levels_of_fixed_width(values + 25 * bins, 25.0, -500.0)
    assert (moved == levels_of_fixed_width(values, 25.0, -500.0) + bins).all()


@pytest.mark.parametrize("wrong", [{"bin_width_hu": 0.0}, {"bin_width_hu": -1.0}, {"bin_width_hu": 1e-6},
                                   {"bin_width_hu": float("nan")}, {"bin_number": 1}, {"bin_number": 100_000},
                                   {"spacing_mm": -1.0}, {"spacing_mm": float("nan")}, {"spacing_mm": 0.001}])
def test_options_that_make_no_sense_are_refused_in_one_line(wrong):
    with pytest.raises(UsageError) as raised:
        TextureOptions(**wrong)
    assert "\n" not in str(raised.value)
