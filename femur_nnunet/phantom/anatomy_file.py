"""The versioned file with the distributions from which femora and hips are drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError

ANATOMY_FILE = Path(__file__).with_name("anatomy_v1.json")


@dataclass(frozen=True)
class Quantity:
    """Distribution of one quantity over people.

    Attributes
    ----------
    mean, sd : float
        Over both sexes.
    r, q : float
        Correlation with the head radius, and with the neck-shaft angle.
    low, high : float
        Limits.
    side_sd : float
        Standard deviation of left less right.
    why : str
        Where the figures come from.
    """

    mean: float
    sd: float
    low: float
    high: float
    why: str
    r: float = 0.0
    q: float = 0.0
    side_sd: float = 0.0

    def value(self, size: float, angle: float, rest: float) -> float:
        """Return the quantity for standardised size and neck-shaft angle and a standard normal remainder."""
        remainder = float(np.sqrt(max(0.0, 1.0 - self.r ** 2 - self.q ** 2)))
        return float(np.clip(self.mean + self.sd * (self.r * size + self.q * angle + remainder * rest),
                             self.low, self.high))


@dataclass(frozen=True)
class AnatomyFile:
    """The file's content.

    Attributes
    ----------
    sex : dict
        Ratio of head radii and differences of angles between women and men.
    quantities : dict
        By name.
    maps : dict
        What rendering label maps needs beside them.
    """

    sex: dict[str, float]
    quantities: dict[str, Quantity]
    maps: dict[str, Any]

    @property
    def assumed_shaft_axis(self) -> NDArray[np.float64]:
        """Direction downwards of a left femur's shaft where a map shows too little of it."""
        axis = np.asarray(self.maps["assumed_shaft_axis"], dtype=np.float64)
        return axis / np.linalg.norm(axis)

    @property
    def leg_rotation_of_maps_deg(self) -> float:
        """Estimated mean inward rotation of the legs in the label maps."""
        return float(self.maps["leg_rotation_deg"])

    @cached_property
    def head_radius_by_sex(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the head radius of ``F`` and ``M``.

        With as many women as men both together have the file's mean and standard deviation.
        """
        whole, ratio = self.quantities["head_radius_mm"], self.sex["head_radius_ratio_men_to_women"]
        women = 2 * whole.mean / (1 + ratio)
        men = ratio * women
        within = float(np.sqrt(whole.sd ** 2 - ((men - women) / 2) ** 2))
        return {"F": (women, within), "M": (men, within)}

    def size_of(self, head_radius_mm: float) -> float:
        """Return the standardised head radius."""
        whole = self.quantities["head_radius_mm"]
        return (head_radius_mm - whole.mean) / whole.sd

    def expected(self, name: str, head_radius_mm: float) -> float:
        """Return the mean of a quantity among people with this head radius."""
        return self.quantities[name].value(self.size_of(head_radius_mm), 0.0, 0.0)


def anatomy_hash(path: Path = ANATOMY_FILE) -> str:
    """Return the SHA-256 of the file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_anatomy(path: Path = ANATOMY_FILE) -> AnatomyFile:
    """Read the distributions.

    Raises
    ------
    FemurError
        A quantity lacks a key or has an unknown one.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    known = ", ".join(item.name for item in fields(Quantity))
    try:
        quantities = {name: Quantity(**values) for name, values in content["quantities"].items()}
    except TypeError as error:
        raise FemurError(f"keys of a quantity that do not fit ({error})", expected=known, subject=str(path),
                         action="restore the anatomy file of this package") from None
    sex = {key: float(value) for key, value in content["sex"].items() if key != "why"}
    return AnatomyFile(sex, quantities, content["maps"])
