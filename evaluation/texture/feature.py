"""What a feature is: its family, IBSI's name and code, and the unit of its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HU = "HU"
HU_SQUARED = "HU^2"
MM = "mm"
NONE = "1"
"""Unit of a number without one: ratios, grey levels, counts."""

FeatureValues = dict[str, float]
"""Values of one family by feature name, in the order of its catalogue; NaN where a feature is undefined."""


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes
    ----------
    family : str
        Its family, also the name of the module that computes it.
    name : str
        IBSI's name in lower case with underscores.
    ibsi_code : str
        IBSI's permanent identifier of four characters.
    unit : str
        Unit of the value; ``1`` for numbers without one, grey levels among them.
    """

    family: str
    name: str
    ibsi_code: str
    unit: str

    @property
    def quantity(self) -> str:
        """Name of the feature in agreement.csv."""
        return f"{self.family}.{self.name}"


def catalogue(family: str, codes: Mapping[str, str], units: Mapping[str, str] | None = None) -> tuple[Feature, ...]:
    """Return the features of a family from their codes by name; a name without a unit has none."""
    return tuple(Feature(family, name, code, (units or {}).get(name, NONE)) for name, code in codes.items())


def ratio(numerator: float, denominator: float) -> float:
    """Return a quotient, or NaN where the denominator is 0."""
    return float(numerator / denominator) if denominator else float("nan")
