"""Fitting slope and intercept to rods of known density, with R2 and standard error, and refusing bad fits.

The rods' densities are known and their HU are measured, so HU is regressed on density and the line is turned
round (classical calibration). With K2HPO4 rods of a liquid-equivalent phantom (Mindways) the regression is
``HU - water = sigma_ref * rho + beta_ref``, and the image's own line follows by ``sigma_CT = sigma_ref - 0.2174``
and ``beta_CT = beta_ref + 999.6``; ``rho = (HU - beta_CT) / sigma_CT``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from femur_nnunet.calibration.phantoms import Phantom
from femur_nnunet.calibration.units import DensityCalibration, DensityUnit, Value, k2hpo4_per_ha

WATER_DISPLACED_BY_K2HPO4 = 0.2174
WATER_AT_ROOM_TEMPERATURE_MG_CC = 999.6
# 4 mg/cc is about 2 % of an integral trochanteric density of 210 to 220 mg/cc. Rods of a sound fit leave 0.1 to 2.2
# mg/cc on the synthetic scans of all scanner tiers; the densities of a wrong phantom leave 4 to 8.
LARGEST_SE_MG_CC = 4.0
# A phantom up to 150 mg/cc (rods spread by 61 mg/cc) has 1 - (4 / 61)^2 = 0.996 at that error.
LEAST_R2 = 0.995
# HU of 1 mg/cc K2HPO4 by tube voltage (1.35 at 120 kVp: sigma_ref of about 1.57 less 0.2174), and how far scanners of
# one voltage may differ by filtration; 1 mg/cc HA has 0.81 to 0.86 of that.
_KVP = (80.0, 120.0, 140.0)
_HU_PER_MG_CC_K2HPO4 = (1.85, 1.35, 1.18)
SCANNER_SPREAD = 0.15


@dataclass(frozen=True)
class RodFit:
    """A calibration and how well the rods support it.

    Attributes
    ----------
    calibration : DensityCalibration
        The line.
    r2 : float
        Share of the variance of the rods' HU that the line explains.
    se_mg_cc : float
        Standard error of the estimate: residual standard deviation (n - 2 degrees of freedom) in density.
    densities_mg_cc, residuals_mg_cc : tuple of float
        Known density of each rod, and the fitted density less it.
    kvp : float or None
        Tube voltage, which narrows the slopes that are possible.
    """

    calibration: DensityCalibration
    r2: float
    se_mg_cc: float
    densities_mg_cc: tuple[float, ...]
    residuals_mg_cc: tuple[float, ...]
    kvp: float | None = None

    @property
    def fault(self) -> str | None:
        """Why the fit must not be used, or ``None``."""
        sigma = 1 / self.calibration.slope
        low, high = possible_hu_per_mg_cc(self.calibration.unit, self.kvp)
        if not low <= sigma <= high:
            return f"{sigma:.2f} HU per mg/cc {self.calibration.unit}, expected {low:.2f} to {high:.2f}"
        if self.se_mg_cc > LARGEST_SE_MG_CC:
            return f"a standard error of {self.se_mg_cc:.1f} mg/cc, expected at most {LARGEST_SE_MG_CC:g}"
        if self.r2 < LEAST_R2:
            return f"an R2 of {self.r2:.4f}, expected at least {LEAST_R2:g}"
        return None

    def error_95_mg_cc(self, density_mg_cc: float) -> float:
        """Return half the 95 % interval of one measured density (prediction interval of the regression)."""
        known = np.asarray(self.densities_mg_cc)
        spread = float(((known - known.mean()) ** 2).sum())
        factor = float(stats.t.ppf(0.975, known.size - 2))
        leverage = 1 + 1 / known.size + (density_mg_cc - known.mean()) ** 2 / spread
        return factor * self.se_mg_cc * float(np.sqrt(leverage))


def possible_hu_per_mg_cc(unit: DensityUnit, kvp: float | None) -> tuple[float, float]:
    """Return the smallest and largest HU that 1 mg/cc may have at a tube voltage, or at any of 80 to 140 kVp."""
    voltages = (kvp,) if kvp is not None and _KVP[0] <= kvp <= _KVP[-1] else (_KVP[0], _KVP[-1])
    typical = [float(np.interp(voltage, _KVP, _HU_PER_MG_CC_K2HPO4)) * (k2hpo4_per_ha(voltage) if unit == "HA" else 1)
               for voltage in voltages]
    return min(typical) * (1 - SCANNER_SPREAD), max(typical) * (1 + SCANNER_SPREAD)


def fit_rods(phantom: Phantom, rod_hu: Sequence[float], kvp: float | None = None) -> RodFit | None:
    """Fit the line of a phantom to its rods' mean HU, given in the phantom's order.

    Returns
    -------
    RodFit or None
        ``None`` where HU does not rise with density at all. Whether the fit is good is for ``fault`` to say.

    Raises
    ------
    ValueError
        Another number of HU values than the phantom has rods.
    """
    measured = np.asarray(rod_hu, dtype=np.float64)
    if measured.size != len(phantom.rods):
        raise ValueError(f"{measured.size} HU values for {len(phantom.rods)} rods")
    known = np.array([rod.density_mg_cc for rod in phantom.rods])
    responses = measured - water_offsets(phantom)
    sigma, beta = np.polyfit(known, responses, 1)
    residual_hu = responses - (sigma * known + beta)
    total = float(((responses - responses.mean()) ** 2).sum())
    sigma_ct, beta_ct = line_of_image(phantom, float(sigma), float(beta))
    if sigma_ct <= 0 or total <= 0:
        return None
    squares = float((residual_hu ** 2).sum())
    calibration = DensityCalibration(phantom.unit, 1 / sigma_ct, -beta_ct / sigma_ct)
    return RodFit(calibration, 1 - squares / total, float(np.sqrt(squares / (known.size - 2))) / sigma_ct,
                  tuple(float(value) for value in known),
                  # A rod above the line reads too dense.
                  tuple(float(value) / sigma_ct for value in residual_hu), kvp)


def water_offsets(phantom: Phantom) -> NDArray[np.float64]:
    """Return what is subtracted from each rod's HU before the regression, shape (rods,)."""
    return np.array([rod.water_mg_cc or 0.0 for rod in phantom.rods])


def line_of_image(phantom: Phantom, sigma: Value, beta: float) -> tuple[Value, float]:
    """Return ``sigma_CT`` (HU per mg/cc) and ``beta_CT`` (HU) from the rods' regression.

    ``sigma`` may be a number or an array of any shape.
    """
    if phantom.relation == "direct":
        return sigma, beta
    return sigma - WATER_DISPLACED_BY_K2HPO4, beta + WATER_AT_ROOM_TEMPERATURE_MG_CC
