from __future__ import annotations

import math

import pytest

from femur_nnunet.evaluation.metric_catalogue import METRICS
from femur_nnunet.evaluation.report.wording import (
    figure_text,
    interval_text,
    p_text,
    quantity_title,
    unit_of_metric,
    unit_of_quantity,
)


@pytest.mark.parametrize(("value", "digits", "signed", "text"), [
    (1.234, 2, False, "1.23"), (-0.5, 1, True, "\N{MINUS SIGN}0.5"), (0.5, 1, True, "+0.5"),
    (-0.0004, 2, True, "0.00"), (0.0004, 2, True, "0.00"), (math.nan, 2, True, "n/a")])
def test_numbers_have_true_minus_signs_and_zero_has_none(value, digits, signed, text):
    assert figure_text(value, digits, signed=signed) == text


def test_an_interval_that_is_not_there_is_said():
    assert interval_text(math.nan, math.nan, 2) == "no interval"
    assert interval_text(-1.0, 2.0, 1, signed=True) == "95 % CI \N{MINUS SIGN}1.0 to +2.0"


def test_small_p_values_are_bounded_and_missing_ones_said():
    assert (p_text(0.0002), p_text(0.04), p_text(math.nan)) == ("p < 0.001", "p = 0.040", "p n/a")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_unit_told_for_a_metric_is_the_catalogues(metric):
    assert unit_of_metric(metric.name) == ("" if metric.unit == "fraction" else metric.unit)


def test_densities_carry_their_calibration_unit():
    assert unit_of_quantity("vbmd_integral", "HA") == "mg/cc HA"
    assert unit_of_quantity("volume_ml_fair") == "ml"
    assert quantity_title("vbmd_integral", "neck") == "Integral vBMD, neck"
