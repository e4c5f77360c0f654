"""radiomics.csv: one row a case, hip, mask and feature, written and read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from femur_nnunet.cohort import MISSING
from femur_nnunet.evaluation.csv_table import read_table, write_table
from femur_nnunet.evaluation.texture.radiomics import TextureStatus

RADIOMICS_NAME = "radiomics.csv"


@dataclass(frozen=True)
class RadiomicsRow:
    """One row of radiomics.csv; NaN and ``None`` are written as ``n/a``.

    Attributes
    ----------
    arm, case_id, participant_id, site, sex, side : str, optional
        What was measured; ``side`` tells the hips of a scan of both apart.
    source : str
        Whose mask: ``reference`` or ``prediction``.
    family, feature, ibsi_code : str
        The feature.
    value : float
        Its value.
    unit : str
        Unit of the value; ``1`` for none.
    status : TextureStatus
        Why there is a value or not.
    """

    arm: str
    case_id: str
    participant_id: str | None
    site: str | None
    sex: str | None
    side: str | None
    source: str
    family: str
    feature: str
    ibsi_code: str
    value: float
    unit: str
    status: TextureStatus

    @property
    def quantity(self) -> str:
        """Name of the feature in agreement.csv."""
        return f"{self.family}.{self.feature}"


RADIOMICS_COLUMNS = tuple(field.name for field in fields(RadiomicsRow))


def write_radiomics(path: Path, rows: Iterable[RadiomicsRow]) -> None:
    """Write radiomics.csv, so that reading it gives back the very same numbers."""
    write_table(path, RADIOMICS_COLUMNS, [[row.status.value if name == "status" else getattr(row, name)
                                           for name in RADIOMICS_COLUMNS] for row in rows], exact=True)


def read_radiomics(path: Path, arm: str) -> list[RadiomicsRow]:
    """Read a radiomics.csv that femur_eval wrote, under another name of the arm.

    Raises
    ------
    FemurError
        The file cannot be read, lacks a column or holds a value that is none.
    """
    return [replace(row, arm=arm) for row in read_table(
        path, RADIOMICS_COLUMNS, _row, action="run femur_eval --texture again on the predictions of this arm")]


def _row(texts: Mapping[str, str]) -> RadiomicsRow:
    known = {name: None if texts[name] == MISSING else texts[name] for name in RADIOMICS_COLUMNS}
    return RadiomicsRow(
        arm=texts["arm"], case_id=texts["case_id"], participant_id=known["participant_id"], site=known["site"],
        sex=known["sex"], side=known["side"], source=texts["source"], family=texts["family"],
        feature=texts["feature"], ibsi_code=texts["ibsi_code"],
        value=math.nan if known["value"] is None else float(texts["value"]), unit=texts["unit"],
        status=TextureStatus(texts["status"]))
