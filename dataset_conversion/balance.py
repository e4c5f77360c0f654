"""The balance table: who is in each fold and in the locked test set, and how far they differ from the rest."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import MISSING, ScanRecord
from femur_nnunet.dataset_conversion.folds import cohort_members
from femur_nnunet.files import write_text
from femur_nnunet.finite_values import mean_of, sd_of
from femur_nnunet.splits import COHORT_SEX, SplitSet

BALANCE_CSV_NAME = "balance.csv"
BALANCE_MARKDOWN_NAME = "balance.md"
TEST_ROW = "test"
DIFFERENCES = ("smd_women", "smd_age", "smd_site", "smd_volume")
_HEADING = """# Balance of the folds

One row a fold: the participants that validate it, and beside them standardised mean differences (SMD) from the rest of
its cohort, on which it trains. Row `test`: the locked test set against all training participants of the cohort. SMD =
(mean - mean of the rest) / sqrt((variance + variance of the rest) / 2), for shares p with the variance p (1 - p); of
several sites the largest by amount. A common rule of thumb calls an SMD below 0.1 balanced; a fold of n participants
strays by about 1 / sqrt(n) by chance alone. n/a: not known, or without any spread. Volumes are of one femur, the mean
over a participant's masks.
"""


@dataclass(frozen=True)
class _Person:
    site: str
    sex: str | None
    age_years: float
    volume_ml: float


def balance_rows(records: Sequence[ScanRecord], splits: SplitSet,
                 volumes_ml: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the rows of the balance table, first the folds, then one ``test`` row a cohort.

    Parameters
    ----------
    records : sequence of ScanRecord
        The cohort table.
    splits : SplitSet
        The folds.
    volumes_ml : mapping
        Case id -> volume of a femur; cases may lack.

    Returns
    -------
    list of dict
        ``fold, cohort, k, participants, cases, women, men, age_mean_years, age_sd_years, n_SITE ...,
        volume_mean_ml, volume_sd_ml, smd_women, smd_age, smd_site, smd_volume``. NaN where not known.
    """
    people = _people(records, volumes_ml)
    sites = sorted({person.site for person in people.values()})
    rows = [_row(str(number), entry, fold["val"], fold["train"], people, sites)
            for number, (fold, entry) in enumerate(zip(splits.folds, splits.index, strict=True))]
    for cohort in dict.fromkeys(str(entry["cohort"]) for entry in splits.index):
        test = [record.case_id for record in records
                if record.role == "test" and COHORT_SEX[cohort] in (None, record.sex)]
        if test:
            training = [record.case_id for record in cohort_members(records, cohort)]
            rows.append(_row(TEST_ROW, {"cohort": cohort, "k": MISSING}, test, training, people, sites))
    return rows


def write_balance(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write balance.csv and balance.md into ``folder`` and return their paths."""
    header = list(rows[0])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_text(row[name], ".6g") for name in header] for row in rows)
    write_text(folder / BALANCE_CSV_NAME, buffer.getvalue())
    columns, lines = shown(rows)
    table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(line)} |" for line in lines)]
    write_text(folder / BALANCE_MARKDOWN_NAME, _HEADING + "\n" + "\n".join(table) + "\n")
    return [folder / BALANCE_CSV_NAME, folder / BALANCE_MARKDOWN_NAME]


def shown(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table for people: means with SD in one column, differences with two digits."""
    sites = [name for name in rows[0] if name.startswith("n_")]
    header = ["fold", "cohort", "n", "cases", "women", "men", *(name[2:] for name in sites), "age (years)",
              "femur (ml)", "SMD women", "SMD age", "SMD site", "SMD volume"]
    lines = [[_text(row[name], "d") for name in ("fold", "cohort", "participants", "cases", "women", "men", *sites)]
             + [_spread(row, "age", "years"), _spread(row, "volume", "ml")]
             + [_text(row[name], "+.2f") for name in DIFFERENCES] for row in rows]
    return header, lines


def largest_difference(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the largest amount of any standardised difference of a fold; NaN if none is known."""
    known = [abs(row[name]) for row in rows for name in DIFFERENCES
             if row["fold"] != TEST_ROW and math.isfinite(row[name])]
    return max(known, default=math.nan)


def standardised_difference(values: Sequence[float], rest: Sequence[float]) -> float:
    """Return the standardised mean difference of two groups (Austin 2009, doi 10.1002/sim.3697).

    (mean - mean of the rest) / sqrt((s^2 + s_rest^2) / 2) with sample variances; 0 for two groups of the
    same single value, NaN where a group has no two values or there is no spread. NaN values are left out.
    """
    first, second = (np.asarray([value for value in group if math.isfinite(value)]) for group in (values, rest))
    if min(len(first), len(second)) < 2:
        return math.nan
    return _quotient(first.mean() - second.mean(), (first.var(ddof=1) + second.var(ddof=1)) / 2)


def standardised_share_difference(share: float, rest: float) -> float:
    """Return the standardised difference of two shares: their variances are p (1 - p) (Austin 2009)."""
    return _quotient(share - rest, (share * (1 - share) + rest * (1 - rest)) / 2)


def _quotient(difference: float, variance: float) -> float:
    if variance > 0:
        return float(difference) / math.sqrt(variance)
    return 0.0 if difference == 0 else math.nan


def _people(records: Sequence[ScanRecord], volumes_ml: Mapping[str, float]) -> dict[str, _Person]:
    people = {}
    for name in {record.participant_id for record in records}:
        own = sorted((record for record in records if record.participant_id == name),
                     key=lambda record: (record.visit, record.case_id))
        volumes = [volumes_ml[record.case_id] for record in own if record.case_id in volumes_ml]
        sex = next((record.sex for record in own if record.sex), None)
        age = next((record.age_years for record in own if record.age_years is not None), math.nan)
        people[name] = _Person(own[0].site, sex, age, float(np.mean(volumes)) if volumes else math.nan)
    return people


def _row(fold: str, entry: Mapping[str, Any], cases: Sequence[str], rest_cases: Sequence[str],
         people: Mapping[str, _Person], sites: Sequence[str]) -> dict[str, Any]:
    group, rest = ([people[name] for name in sorted({parse_case_id(case).participant_id for case in part})]
                   for part in (cases, rest_cases))

    def share(condition: Callable[[_Person], bool]) -> float:
        # Unknown sex is neither woman nor man.
        shares = [sum(map(condition, part)) / len(part) for part in (group, rest)]
        return standardised_share_difference(*shares)

    site_differences = [share(lambda person, site=site: person.site == site) for site in sites]  # type: ignore[misc]
    ages, volumes = [person.age_years for person in group], [person.volume_ml for person in group]
    return {
        "fold": fold, "cohort": entry["cohort"], "k": entry["k"], "participants": len(group), "cases": len(cases),
        "women": sum(person.sex == "F" for person in group), "men": sum(person.sex == "M" for person in group),
        "age_mean_years": mean_of(ages), "age_sd_years": sd_of(ages),
        **{f"n_{site}": sum(person.site == site for person in group) for site in sites},
        "volume_mean_ml": mean_of(volumes), "volume_sd_ml": sd_of(volumes),
        "smd_women": share(lambda person: person.sex == "F"),
        "smd_age": standardised_difference(ages, [person.age_years for person in rest]),
        "smd_site": max(site_differences, key=lambda value: -1.0 if math.isnan(value) else abs(value)),
        "smd_volume": standardised_difference(volumes, [person.volume_ml for person in rest]),
    }


def _spread(row: Mapping[str, Any], name: str, unit: str) -> str:
    mean, sd = row[f"{name}_mean_{unit}"], row[f"{name}_sd_{unit}"]
    if math.isnan(mean):
        return MISSING
    return f"{mean:.1f}" if math.isnan(sd) else f"{mean:.1f} ({sd:.1f})"


def _text(value: Any, form: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return MISSING
    return format(value, form) if isinstance(value, float if form != "d" else int) else str(value)
