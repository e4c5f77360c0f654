"""What is measured of a region, and in which unit."""

from __future__ import annotations

from femur_nnunet.calibration.units import DensityUnit

QUANTITIES = ("volume_ml", "bmc_mg", "vbmd_integral", "vbmd_cortical", "vbmd_trabecular", "cortical_thickness_mm")
"""Columns of density.csv; the vBMD are in mg/cc and ``bmc_mg`` in mg of the row's unit."""

VOLUME = QUANTITIES[:1]
SHAPE = ("volume_ml", "cortical_thickness_mm")
"""What needs no density calibration."""

_UNITS = {"volume_ml": "ml", "cortical_thickness_mm": "mm"}


def unit_of(quantity: str, calibrated_in: DensityUnit | None) -> str:
    """Return the unit of a quantity: of mineral and density with the material that the scan is calibrated in."""
    if quantity in _UNITS:
        return _UNITS[quantity]
    return f"{'mg' if quantity == 'bmc_mg' else 'mg/cc'} {calibrated_in}"
