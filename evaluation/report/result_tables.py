"""The tables of a result folder, read back as the objects that they were written from."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from femur_nnunet.cohort import MISSING
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.evaluation.agreement import AGREEMENT_NAME, AgreementRow
from femur_nnunet.evaluation.agreement_statistics import Estimate
from femur_nnunet.evaluation.case_table import CASES_NAME, CaseRow, read_cases
from femur_nnunet.evaluation.compare_table import COMPARE_NAME, CompareRow
from femur_nnunet.evaluation.density.density_row import DENSITY_NAME, DensityRow, read_density
from femur_nnunet.evaluation.gap_table import GAP_NAME, GapRow
from femur_nnunet.evaluation.participants import ALL, arms_of, judged, sites_of
from femur_nnunet.evaluation.site_table import SITES_NAME, SiteRow
from femur_nnunet.evaluation.texture.radiomics_row import RADIOMICS_NAME
from femur_nnunet.files import read_json
from femur_nnunet.provenance import RUN_RECORD_NAME

_ACTION = "run femur_eval again"
_ESTIMATES = ("bias", "loa_low", "loa_high", "slope", "intercept", "r2", "pearson_r", "ccc", "icc_2_1", "icc_3_1")
Row = TypeVar("Row")


@dataclass(frozen=True)
class ResultTables:
    """What stands in a result folder.

    Attributes
    ----------
    rows, sites, gaps, agreement : list
        cases.csv, sites.csv, gap.csv and agreement.csv.
    comparison : list of CompareRow
        compare.csv; empty where one arm was evaluated.
    density : list of DensityRow or None
        density.csv; None where density was not measured.
    texture_measured : bool
        Whether there is a radiomics.csv; its agreement stands in agreement.csv.
    run : dict
        run.json.
    """

    rows: list[CaseRow]
    sites: list[SiteRow]
    gaps: list[GapRow]
    agreement: list[AgreementRow]
    comparison: list[CompareRow] = field(default_factory=list)
    density: list[DensityRow] | None = None
    texture_measured: bool = False
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> list[CaseRow]:
        """The rows that enter statistics."""
        return judged(self.rows)

    @property
    def arms(self) -> list[str]:
        """Arms in the order in which they were asked for."""
        found = arms_of(self.rows)
        asked = self.run.get("arguments", {}).get("arms") or {}
        return [arm for arm in asked if arm in found] or found

    @property
    def site_names(self) -> list[str]:
        """Sites of judged rows; those whose labels were trained on first."""
        sources = list(dict.fromkeys(gap.source_site for gap in self.gaps))
        return sorted(sites_of(self.judged), key=lambda site: (site not in sources, site))

    def summary(self, arm: str, site: str, metric: str, sex: str = ALL) -> SiteRow | None:
        """Return the line of sites.csv."""
        return next((row for row in self.sites if (row.arm, row.site, row.metric, row.sex) ==
                     (arm, site, metric, sex)), None)

    def agreement_of(self, arm: str, site: str, quantity: str, region: str = "total",
                     unit: str = "ml") -> AgreementRow | None:
        """Return the line of agreement.csv for both sexes."""
        return next((row for row in self.agreement if (row.arm, row.site, row.quantity, row.region, row.unit, row.sex)
                     == (arm, site, quantity, region, unit, ALL)), None)


def read_result(folder: Path) -> ResultTables:
    """Read every table of a folder that femur_eval wrote.

    Raises
    ------
    UsageError
        The folder holds no cases.csv.
    FemurError
        A table is broken or of another version.
    """
    if not (folder / CASES_NAME).is_file():
        raise UsageError(f"no {CASES_NAME}", expected="a result folder of femur_eval",
                         action="name it with --out, or evaluate first", subject=str(folder))
    run = read_json(folder / RUN_RECORD_NAME, what="the run.json that femur_eval writes", action=_ACTION)
    return ResultTables(
        read_cases(folder / CASES_NAME), read_rows(folder / SITES_NAME, SiteRow), read_rows(folder / GAP_NAME, GapRow),
        [_agreement(texts, folder) for texts in read_texts(folder / AGREEMENT_NAME)],
        read_rows(folder / COMPARE_NAME, CompareRow) if (folder / COMPARE_NAME).is_file() else [],
        read_density(folder / DENSITY_NAME) if (folder / DENSITY_NAME).is_file() else None,
        (folder / RADIOMICS_NAME).is_file(), run if isinstance(run, dict) else {})


def read_texts(path: Path) -> list[dict[str, str]]:
    """Read a CSV as text by column.

    Raises
    ------
    FemurError
        There is no such file, or it is no text.
    """
    try:
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise FemurError(f"no readable table ({error})", expected=f"the {path.name} that femur_eval writes",
                         action=_ACTION, subject=str(path)) from None


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read a CSV whose columns are the fields of a dataclass.

    Raises
    ------
    FemurError
        The file is missing, lacks a column or holds a value that is none of its column.
    """
    types = get_type_hints(kind)
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    try:
        return [kind(**{name: _value(texts[name], types[name]) for name in names}) for texts in read_texts(path)]
    except (KeyError, ValueError, TypeError) as error:
        raise FemurError(f"a broken table ({error})", expected=f"the {path.name} of this version",
                         action=_ACTION, subject=str(path)) from None


def number(text: str | None) -> float:
    """Return a number of a table, NaN where it says ``n/a``."""
    return math.nan if text in (None, "", MISSING) else float(str(text))


def _value(text: str, kind: type) -> Any:
    return number(text) if kind is float else int(text) if kind is int else text


def _agreement(texts: Mapping[str, str], folder: Path) -> AgreementRow:
    try:
        estimates = {name: Estimate(*(number(texts[column]) for column in _interval(name))) for name in _ESTIMATES}
        return AgreementRow(
            arm=texts["arm"], quantity=texts["quantity"], region=texts["region"], site=texts["site"],
            sex=texts["sex"], n=int(texts["n"]), n_missed=int(texts["n_missed"]), estimates=estimates,
            p_value=number(texts["p_value"]), tost_margin=number(texts["tost_margin"]),
            tost_p=number(texts["tost_p"]), unit=texts["unit"])
    except (KeyError, ValueError, TypeError) as error:
        raise FemurError(f"a broken table ({error})", expected=f"the {AGREEMENT_NAME} of this version", action=_ACTION,
                         subject=str(folder / AGREEMENT_NAME)) from None


def _interval(name: str) -> Sequence[str]:
    return name, f"{name}_ci95_low", f"{name}_ci95_high"
