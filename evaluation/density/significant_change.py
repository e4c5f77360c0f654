"""Least significant changes: differences below them cannot be told from the method's own repeatability.

LSC = 2.77 x the precision error at 95 % confidence (Official Positions of the International Society for Clinical
Densitometry). The precision error is the in-vivo coefficient of variation of a QCT system over 22 women scanned three
times in two years: 1.8 % for the total hip, 2.0 % for the neck (Cann, Adams, Brown, Brett, PLoS One 2014; 9:e91904, of
the projected density of the same scans). For what that study does not give, the region's value stands in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from femur_nnunet.evaluation.density.quantities import QUANTITIES
from femur_nnunet.regions import Region

LSC_PER_PRECISION_ERROR = 2.77
_TOTAL_HIP_CV_PERCENT, _NECK_CV_PERCENT = 1.8, 2.0


@dataclass(frozen=True)
class LeastSignificantChange:
    """A margin as a share of the quantity, and where it comes from."""

    percent: float
    source: str


def _default(quantity: str, region: Region) -> LeastSignificantChange:
    of_neck = region is Region.NECK
    percent = round(LSC_PER_PRECISION_ERROR * (_NECK_CV_PERCENT if of_neck else _TOTAL_HIP_CV_PERCENT), 1)
    measured = quantity in ("bmc_mg", "vbmd_integral") and region in (Region.TOTAL, Region.NECK)
    stands_in = "the neck's" if of_neck else "the total hip's"
    return LeastSignificantChange(percent, "Cann 2014" if measured else f"{stands_in} value stands in")


LEAST_SIGNIFICANT_CHANGE: dict[tuple[str, Region], LeastSignificantChange] = {
    (quantity, region): _default(quantity, region) for quantity in QUANTITIES for region in Region}
"""By quantity and region: 5.5 % in the neck, 5.0 % elsewhere."""


def margin(quantity: str, region: Region, mean_reference: float, overrides: Mapping[str, float]) -> float | None:
    """Return the margin of the equivalence test in the quantity's own unit; None where its mean is not above 0.

    Parameters
    ----------
    quantity, region
        What is tested.
    mean_reference : float
        Mean of the reference over participants.
    overrides : mapping
        Per cent by ``quantity:region`` or ``quantity``; the first has priority.
    """
    if not (math.isfinite(mean_reference) and mean_reference > 0):
        return None
    default = LEAST_SIGNIFICANT_CHANGE[quantity, region].percent
    percent = overrides.get(f"{quantity}:{region.value}", overrides.get(quantity, default))
    return mean_reference * percent / 100.0


def parse_override(text: str) -> tuple[str, float]:
    """Return key and per cent of ``QUANTITY=PERCENT`` or ``QUANTITY:REGION=PERCENT``.

    Raises
    ------
    ValueError
        The text has another form, or names no quantity or region.
    """
    key, _, value = text.partition("=")
    quantity, _, region = key.partition(":")
    try:
        percent = float(value)
    except ValueError:
        percent = math.nan
    if not percent > 0 or quantity not in QUANTITIES or region not in ("", *(one.value for one in Region)):
        regions = ", ".join(one.value for one in Region)
        raise ValueError(f"must be QUANTITY=PERCENT or QUANTITY:REGION=PERCENT with a quantity of "
                         f"{', '.join(QUANTITIES)} and a region of {regions}, got {text!r}")
    return key, percent
