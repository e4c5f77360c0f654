"""The table of calibration phantoms: rods, materials, layout; users add their own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from femur_nnunet.calibration.units import DENSITY_UNITS, DensityUnit
from femur_nnunet.errors import UsageError
from femur_nnunet.files import read_json

PHANTOM_TABLE = Path(__file__).with_name("phantoms_v1.json")
TABLE_SCHEMA = 1
LEAST_RODS = 3
Relation = Literal["direct", "water_and_k2hpo4"]
_ENTRY_KEYS = {"name", "aliases", "unit", "relation", "rods", "rod_radius_mm", "spacing_mm", "source",
               "typical_values"}


@dataclass(frozen=True)
class Rod:
    """One rod: its density in the phantom's unit and, for liquid-equivalent rods, its water density, in mg/cc."""

    density_mg_cc: float
    water_mg_cc: float | None = None


@dataclass(frozen=True)
class Phantom:
    """A phantom with rods in one row across the patient, along z.

    Attributes
    ----------
    name : str
        Name, as ``calibration_phantom`` of a manifest gives it.
    unit : {"K2HPO4", "HA"}
        Unit of the rods' densities.
    relation : {"direct", "water_and_k2hpo4"}
        ``direct``: HU = sigma * density + beta. ``water_and_k2hpo4``: HU - water = sigma_ref * density +
        beta_ref (Mindways), from which sigma_CT and beta_CT follow.
    rods : tuple of Rod
        In order along x, in either direction.
    rod_radius_mm : float
        Radius of the rods.
    spacing_mm : (float, float)
        Smallest and largest distance of neighbouring rods' axes that is searched.
    aliases : tuple of str
        Other names of the same phantom, lower case.
    typical_values : bool
        The densities are typical ones, not those of a phantom's own certificate.
    """

    name: str
    unit: DensityUnit
    relation: Relation
    rods: tuple[Rod, ...]
    rod_radius_mm: float
    spacing_mm: tuple[float, float]
    aliases: tuple[str, ...] = ()
    typical_values: bool = False

    def is_called(self, name: str) -> bool:
        """Say whether a name means this phantom; case, blanks and punctuation do not matter."""
        return _plain(name) in {_plain(self.name), *(_plain(alias) for alias in self.aliases)}


def load_phantoms(extra: Path | None = None) -> tuple[Phantom, ...]:
    """Read the package's table and a user's one, which may add phantoms and replace those of the same name.

    Raises
    ------
    UsageError
        The user's table has an unknown key, a missing or impossible value, or fewer than three rods.
    """
    phantoms = {phantom.name: phantom for phantom in _read_table(PHANTOM_TABLE)}
    if extra is not None:
        phantoms.update((phantom.name, phantom) for phantom in _read_table(extra))
    return tuple(phantoms.values())


def find_phantom(phantoms: Sequence[Phantom], name: str) -> Phantom | None:
    """Return the phantom that a manifest's ``calibration_phantom`` names, or ``None``."""
    return next((phantom for phantom in phantoms if phantom.is_called(name)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _read_table(path: Path) -> list[Phantom]:
    action = "correct the phantom table (docs/calibration.md shows its form)"
    content = read_json(path, what="a table of calibration phantoms in JSON", action=action)
    if not isinstance(content, dict) or content.get("schema") != TABLE_SCHEMA or not isinstance(
            content.get("phantoms"), list):
        raise UsageError("no list 'phantoms' beside 'schema': 1", expected="a table of calibration phantoms",
                         action=action, subject=path.name)
    phantoms = []
    for number, entry in enumerate(content["phantoms"], start=1):
        try:
            phantoms.append(_phantom(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"an entry that is no phantom ({type(error).__name__}: {error})",
                             expected=f"the keys {', '.join(sorted(_ENTRY_KEYS))} with valid values", action=action,
                             subject=f"{path.name} phantom {number}") from None
    return phantoms


def _phantom(entry: dict[str, Any]) -> Phantom:
    unknown = sorted(set(entry) - _ENTRY_KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]}")
    relation, unit = entry.get("relation", "direct"), entry["unit"]
    if unit not in DENSITY_UNITS or relation not in get_args(Relation):
        raise ValueError(f"unit {unit!r} or relation {relation!r}")
    rods = tuple(Rod(_number(rod["density_mg_cc"]),
                     _number(rod["water_mg_cc"]) if relation == "water_and_k2hpo4" else None)
                 for rod in entry["rods"])
    first, last = (_number(value) for value in entry["spacing_mm"])
    radius = _number(entry["rod_radius_mm"])
    if len(rods) < LEAST_RODS or len({rod.density_mg_cc for rod in rods}) < LEAST_RODS:
        raise ValueError(f"fewer than {LEAST_RODS} rods of different density")
    if relation == "water_and_k2hpo4" and unit != "K2HPO4":
        raise ValueError("the relation water_and_k2hpo4 with another unit than K2HPO4")
    if not 2.0 <= radius <= 40.0 or not 2 * radius <= first <= last <= 200.0:
        raise ValueError(f"a rod radius of {radius:g} mm at distances of {first:g} to {last:g} mm")
    return Phantom(str(entry["name"]), unit, relation, rods, radius, (first, last),
                   tuple(str(alias) for alias in entry.get("aliases", ())), bool(entry.get("typical_values", False)))


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number
