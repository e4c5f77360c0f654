"""density.csv: one row a case, source and region, written and read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from femur_nnunet.calibration.units import DensityUnit, as_density_unit
from femur_nnunet.cohort import MISSING
from femur_nnunet.evaluation.csv_table import read_table, write_table
from femur_nnunet.evaluation.density.density_status import DENSITY_RULES, DensityRule, DensityStatus
from femur_nnunet.evaluation.density.quantities import QUANTITIES
from femur_nnunet.regions import Region

DENSITY_NAME = "density.csv"
MaskSource = Literal["reference", "prediction"]


@dataclass(frozen=True)
class DensityRow:
    """One row of density.csv; NaN is written as ``n/a``.

    Attributes
    ----------
    case_id : str
        The case.
    source : {"reference", "prediction"}
        Whose mask was measured.
    region : Region
        Region of the femur, or all of it.
    unit : {"K2HPO4", "HA"} or None
        Material that BMC and vBMD are expressed in; None without calibration.
    volume_ml, bmc_mg, vbmd_integral, vbmd_cortical, vbmd_trabecular, cortical_thickness_mm : float
        What was measured (docs/density.md).
    status : DensityStatus
        How it went.
    arm, side : str, optional
        Name of the model; which femur of a scan with both.
    """

    case_id: str
    source: MaskSource
    region: Region
    unit: DensityUnit | None
    volume_ml: float = math.nan
    bmc_mg: float = math.nan
    vbmd_integral: float = math.nan
    vbmd_cortical: float = math.nan
    vbmd_trabecular: float = math.nan
    cortical_thickness_mm: float = math.nan
    status: DensityStatus = DensityStatus.OK
    arm: str | None = None
    side: str | None = None

    @property
    def rule(self) -> DensityRule:
        """What the status of this row does."""
        return DENSITY_RULES[self.status]


# The arm leads, as in every other table; the side tells the femora of a scan with both.
DENSITY_COLUMNS: tuple[str, ...] = (
    "arm", *(item.name for item in fields(DensityRow) if item.name not in ("arm", "side", "status")), "status", "side")


def write_density(path: Path, rows: Iterable[DensityRow]) -> None:
    """Write density.csv so that reading it gives back the very same numbers."""
    write_table(path, DENSITY_COLUMNS, [[_cell(getattr(row, column)) for column in DENSITY_COLUMNS] for row in rows],
                exact=True)


def read_density(path: Path, arm: str | None = None) -> list[DensityRow]:
    """Read a density.csv, under another name of the arm if one is given.

    Raises
    ------
    FemurError
        The file is missing, lacks a column or holds a value that is none of its column.
    """
    rows = read_table(path, DENSITY_COLUMNS, _row,
                      action="run femur_eval --images again on the predictions of this arm")
    return rows if arm is None else [replace(row, arm=arm) for row in rows]


def _cell(value: object) -> object:
    return value.value if isinstance(value, (Region, DensityStatus)) else value


def _row(texts: Mapping[str, str]) -> DensityRow:
    given = {column: None if texts[column] == MISSING else texts[column] for column in DENSITY_COLUMNS}
    source = texts["source"]
    if source not in ("reference", "prediction"):
        raise ValueError(f"{source!r} in column source")
    return DensityRow(
        case_id=texts["case_id"], source="reference" if source == "reference" else "prediction",
        region=Region(texts["region"]), unit=as_density_unit(given["unit"]),
        **{name: math.nan if given[name] is None else float(texts[name]) for name in QUANTITIES},
        status=DensityStatus(texts["status"]), arm=given["arm"], side=given["side"])
