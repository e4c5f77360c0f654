from __future__ import annotations

import math

import pytest

from femur_nnunet.calibration.units import DensityCalibration, as_density_unit, k2hpo4_per_ha
from femur_nnunet.errors import FemurError


def test_density_is_slope_times_hu_plus_intercept():
    assert DensityCalibration("HA", 0.8, -3.0).density_mg_cc(100.0) == pytest.approx(77.0)


@pytest.mark.parametrize(("kvp", "ratio"), [(80, 0.86), (140, 0.81), (110, 0.835)])
def test_the_ratio_of_the_units_follows_the_tube_voltage(kvp, ratio):
    assert k2hpo4_per_ha(kvp) == pytest.approx(ratio)


@pytest.mark.parametrize("kvp", [None, 70, 150, math.nan])
def test_units_are_not_converted_without_a_documented_tube_voltage(kvp):
    with pytest.raises(FemurError, match="80 to 140 kVp"):
        k2hpo4_per_ha(kvp)


def test_a_density_in_ha_reads_smaller_in_k2hpo4_and_comes_back():
    in_ha = DensityCalibration("HA", 1.0, 10.0)
    there = in_ha.in_unit("K2HPO4", 80)
    assert (there.unit, there.slope, there.intercept) == ("K2HPO4", pytest.approx(0.86), pytest.approx(8.6))
    back = there.in_unit("HA", 80)
    assert (back.slope, back.intercept) == (pytest.approx(1.0), pytest.approx(10.0))


def test_lines_of_different_units_are_never_compared():
    with pytest.raises(FemurError, match="K2HPO4 and in HA"):
        DensityCalibration("K2HPO4", 1, 0).largest_difference_mg_cc(DensityCalibration("HA", 1, 0), (0, 300))


def test_the_largest_difference_of_two_lines_lies_at_an_end():
    one, other = DensityCalibration("HA", 1.0, 0.0), DensityCalibration("HA", 0.9, 10.0)
    assert one.largest_difference_mg_cc(other, (0.0, 300.0)) == pytest.approx(20.0)  # 10 at 0 HU, 300 - 280 at 300


@pytest.mark.parametrize("values", [("HA", 0.0, 1.0), ("HA", -1.0, 1.0), ("HA", math.nan, 1.0), ("HA", 1.0, math.inf),
                                    ("ha", 1.0, 1.0)])
def test_impossible_lines_are_refused(values):
    with pytest.raises(ValueError, match="got"):
        DensityCalibration(*values)


def test_a_cell_names_a_unit_or_none():
    assert as_density_unit("HA") == "HA"
    assert as_density_unit(None) is None
    with pytest.raises(ValueError, match="unit"):
        as_density_unit("mg")
