from __future__ import annotations

import pytest
from shapes import block

from femur_nnunet.evaluation.fair_extent import common_distal_level, distal_trim_mm

SHAPE = (60, 6, 6)


def column(low: int, high: int = 50):
    return block(SHAPE, (low, 1, 1), (high, 5, 5))


def test_the_common_level_is_the_higher_of_the_two_lowest_slices():
    assert common_distal_level(column(4), column(9), 2.0) == 9
    assert common_distal_level(column(9), column(4), 2.0) == 9
    assert common_distal_level(column(5), column(5), 2.0) == 5


def test_no_more_than_20_mm_of_the_reference_is_cut_off():
    assert common_distal_level(column(4), column(40), 2.5) == 4 + 8
    assert common_distal_level(column(4), column(12), 2.5) == 12


def test_the_reference_keeps_its_last_slice():
    assert common_distal_level(column(4, 7), column(30), 1.0) == 6


def test_what_a_prediction_has_below_the_reference_is_cut_off_without_limit():
    assert common_distal_level(column(45), column(0), 1.0) == 45


def test_the_trim_is_told_in_millimetres():
    assert distal_trim_mm(column(4), 10, 2.5) == pytest.approx(15.0)
    assert distal_trim_mm(column(12), 10, 2.5) == 0
