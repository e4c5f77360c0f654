"""Density units that are never mixed, and the straight line from HU to density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError

DensityUnit = Literal["K2HPO4", "HA"]
DENSITY_UNITS: tuple[DensityUnit, ...] = ("K2HPO4", "HA")
# A density of 1 mg/cc HA looks on CT like this many mg/cc K2HPO4; the two ends of what is documented.
_RATIO_KVP = (80.0, 140.0)
_K2HPO4_PER_HA = (0.86, 0.81)
Value = TypeVar("Value", float, NDArray[np.float64])


@dataclass(frozen=True)
class DensityCalibration:
    """``rho = slope * HU + intercept`` in mg/cc of one material.

    Attributes
    ----------
    unit : {"K2HPO4", "HA"}
        Material that the density is expressed in.
    slope : float
        mg/cc per HU; above 0.
    intercept : float
        mg/cc at 0 HU.

    Raises
    ------
    ValueError
        Another unit, a slope that is not above 0, or a number that is not finite.
    """

    unit: DensityUnit
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if self.unit not in DENSITY_UNITS:
            raise ValueError(f"the unit must be one of {DENSITY_UNITS}, got {self.unit!r}")
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise ValueError(f"slope above 0 and finite intercept needed, got {self.slope} and {self.intercept}")

    def density_mg_cc(self, hounsfield: Value) -> Value:
        """Return the density of a HU value or of an array of any shape, in mg/cc of ``unit``."""
        return self.slope * hounsfield + self.intercept

    def largest_difference_mg_cc(self, other: DensityCalibration, hounsfield: tuple[float, float]) -> float:
        """Return the largest difference of two lines between two HU values, in mg/cc.

        Raises
        ------
        FemurError
            The units differ: K2HPO4 and HA are not compared without a tube voltage.
        """
        if self.unit != other.unit:
            raise FemurError(f"densities in {self.unit} and in {other.unit}", expected="one unit",
                             action="bring both to one unit first (in_unit, which needs the tube voltage)")
        return max(abs(self.density_mg_cc(value) - other.density_mg_cc(value)) for value in hounsfield)

    def in_unit(self, unit: DensityUnit, kvp: float | None) -> DensityCalibration:
        """Return the same line in another unit; needs the tube voltage (see :func:`k2hpo4_per_ha`)."""
        if unit == self.unit:
            return self
        ratio = k2hpo4_per_ha(kvp)
        factor = ratio if unit == "K2HPO4" else 1 / ratio
        return DensityCalibration(unit, self.slope * factor, self.intercept * factor)


def k2hpo4_per_ha(kvp: float | None) -> float:
    """Return how many mg/cc K2HPO4 look like 1 mg/cc HA at a tube voltage.

    0.86 at 80 kVp and 0.81 at 140 kVp, a straight line between them.

    Raises
    ------
    FemurError
        The tube voltage is unknown or outside 80 to 140 kVp, where nothing is documented.
    """
    if kvp is None or not _RATIO_KVP[0] <= kvp <= _RATIO_KVP[1]:
        raise FemurError("no tube voltage" if kvp is None else f"a tube voltage of {kvp:g} kVp",
                         expected=f"{_RATIO_KVP[0]:g} to {_RATIO_KVP[1]:g} kVp, where the ratio of K2HPO4 to HA is "
                         "documented", action="keep the density in the unit of the phantom")
    return float(np.interp(kvp, _RATIO_KVP, _K2HPO4_PER_HA))


def as_density_unit(text: str | None) -> DensityUnit | None:
    """Return the unit that a table's cell names, ``None`` for none.

    Raises
    ------
    ValueError
        The text is neither.
    """
    if text is None:
        return None
    if text not in DENSITY_UNITS:
        raise ValueError(f"the unit must be one of {DENSITY_UNITS}, got {text!r}")
    return text
