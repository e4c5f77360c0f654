from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from femur_nnunet.calibration.phantoms import find_phantom, load_phantoms
from femur_nnunet.calibration.rod_fit import fit_rods, possible_hu_per_mg_cc

PHANTOMS = load_phantoms()
FIVE = find_phantom(PHANTOMS, "synthetic 5-rod K2HPO4")
MINDWAYS = find_phantom(PHANTOMS, "mindways")


def hu_of(phantom, sigma, beta):
    return [sigma * rod.density_mg_cc + beta for rod in phantom.rods]


def test_rods_on_a_line_give_the_line_without_error():
    fit = fit_rods(FIVE, hu_of(FIVE, 1.25, 10.0))
    assert (fit.calibration.unit, fit.calibration.slope) == ("K2HPO4", pytest.approx(0.8))
    assert fit.calibration.intercept == pytest.approx(-8.0)  # -10 / 1.25
    assert (fit.r2, fit.se_mg_cc) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))
    assert fit.fault is None


def test_mindways_rods_are_corrected_for_the_water_that_the_salt_displaces():
    """sigma_CT = sigma_ref - 0.2174 and beta_CT = beta_ref + 999.6."""
    rods = [rod.water_mg_cc + 1.5674 * rod.density_mg_cc - 996.6 for rod in MINDWAYS.rods]
    fit = fit_rods(MINDWAYS, rods)
    assert 1 / fit.calibration.slope == pytest.approx(1.35)
    assert fit.calibration.intercept == pytest.approx(-3.0 / 1.35)


def test_r2_and_standard_error_are_those_of_ordinary_least_squares():
    noisy = np.array(hu_of(FIVE, 1.35, 2.0)) + np.array([3.0, -2.0, 1.0, -4.0, 2.0])
    known = [rod.density_mg_cc for rod in FIVE.rods]
    oracle = sm.OLS(noisy, sm.add_constant(known)).fit()
    fit = fit_rods(FIVE, noisy)
    assert fit.r2 == pytest.approx(oracle.rsquared)
    assert fit.se_mg_cc == pytest.approx(np.sqrt(oracle.mse_resid) / oracle.params[1])
    interval = oracle.get_prediction([[1.0, 200.0]]).conf_int(obs=True, alpha=0.05)[0]
    assert fit.error_95_mg_cc(200.0) == pytest.approx((interval[1] - interval[0]) / 2 / oracle.params[1])


def test_scattered_rods_are_refused():
    scattered = np.array(hu_of(FIVE, 1.35, 0.0)) + np.array([20.0, -20.0, 20.0, -20.0, 20.0])
    assert "standard error" in fit_rods(FIVE, scattered).fault


@pytest.mark.parametrize(("sigma", "kvp", "good"), [(1.35, 120, True), (1.85, 120, False), (1.85, 80, True),
                                                    (1.85, None, True), (3.0, None, False), (0.5, None, False)])
def test_a_slope_must_be_possible_at_the_tube_voltage(sigma, kvp, good):
    assert (fit_rods(FIVE, hu_of(FIVE, sigma, 0.0), kvp).fault is None) == good


def test_ha_reads_fewer_hu_than_k2hpo4():
    assert possible_hu_per_mg_cc("HA", 140)[1] == pytest.approx(1.18 * 0.81 * 1.15)


def test_rods_whose_hu_fall_with_density_are_no_fit():
    assert fit_rods(FIVE, hu_of(FIVE, -1.0, 0.0)) is None


def test_a_wrong_number_of_rods_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="3 HU values for 5 rods"):
        fit_rods(FIVE, [1.0, 2.0, 3.0])
