from __future__ import annotations

import math

import pytest

from femur_nnunet.evaluation.metric_catalogue import METRICS
from femur_nnunet.evaluation.report.wording import (
    figure_text,
    interval_text,
    margin_text,
    p_text,
    quantity_phrase,
    quantity_title,
    unbroken,
    unit_of_metric,
)


@pytest.mark.parametrize(("value", "digits", "signed", "text"), [
    (1.234, 2, False, "1.23"), (-0.5, 1, True, "\N{MINUS SIGN}0.5"), (0.5, 1, True, "+0.5"),
    (-0.0004, 2, True, "0.00"), (0.0004, 2, True, "0.00"), (math.nan, 2, True, "n/a")])
def test_numbers_have_true_minus_signs_and_zero_has_none(value, digits, signed, text):
    assert figure_text(value, digits, signed=signed) == text


def test_an_interval_that_is_not_there_is_said():
    assert interval_text(math.nan, math.nan, 2) == "no interval"
    assert interval_text(-1.0, 2.0, 1, signed=True) == "95 % CI \N{MINUS SIGN}1.0 to +2.0"


def test_margins_are_told_in_three_digits_and_never_in_powers_of_ten():
    assert [margin_text(value) for value in (2.0, 12.76, 2884.3)] == ["±2", "±12.8", "±2884"]


def test_small_p_values_are_bounded_and_missing_ones_said():
    assert (p_text(0.0002), p_text(0.04), p_text(math.nan)) == ("p < 0.001", "p = 0.040", "p n/a")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_unit_told_for_a_metric_is_the_catalogues(metric):
    assert unit_of_metric(metric.name) == ("" if metric.unit == "fraction" else metric.unit)


def test_quantities_are_named_with_their_region():
    assert quantity_title("vbmd_integral", "neck") == "Integral vBMD, neck"
    assert quantity_phrase("vbmd_integral", "neck") == "neck integral vBMD"
    assert quantity_phrase("bmc_mg") == "BMC"


def test_no_line_ends_between_a_number_and_what_belongs_to_it():
    told = unbroken("bias +0.5 % (+1.00 mg/cc; 95 % CI 1 to 2 mm, n = 3; p = 0.02)")
    assert told.replace("\N{NO-BREAK SPACE}", "~") == "bias +0.5~% (+1.00~mg/cc; 95~%~CI 1 to 2~mm, n~=~3; p~=~0.02)"
