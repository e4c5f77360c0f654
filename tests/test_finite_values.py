from __future__ import annotations

import math

from femur_nnunet.finite_values import mean_of, sd_of


def test_missing_values_count_neither_in_the_mean_nor_in_the_spread():
    assert mean_of([1.0, math.nan, 3.0]) == 2.0
    assert sd_of([1.0, math.inf, 3.0]) == math.sqrt(2.0)


def test_too_few_values_have_no_mean_and_no_spread():
    assert math.isnan(mean_of([math.nan]))
    assert math.isnan(sd_of([1.0, math.nan]))
