"""study.csv and study.md: one table in the form of the V-Net study (arXiv 2006.05513)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.drivers.study.fold_table import CandidateScore, FoldRow
from femur_nnunet.drivers.study.group_values import (
    AGREEMENT_METRICS,
    MEAN_METRICS,
    GroupValues,
    measure_group,
)
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.participants import ALL, SEXES, select, sites_of
from femur_nnunet.files import write_text
from femur_nnunet.finite_values import mean_of, sd_of

CSV_NAME = "study.csv"
MARKDOWN_NAME = "study.md"
_IDENTITY = ("trainer", "plans", "settings", "part", "cohort", "site", "sex", "unit", "n", "n_missed",
             "choices_that_saw_the_test")
STUDY_COLUMNS: tuple[str, ...] = (*_IDENTITY, *(f"{name}_{kind}" for name in (*MEAN_METRICS, *AGREEMENT_METRICS)
                                                for kind in ("mean", "sd")))
_SEX_NAMES = {ALL: "all", "F": "women", "M": "men"}
_SIGNIFICANT = 0.001
_PAPER = ("arXiv 2006.05513 (V-Net)", "as published", "all", "all", "one site", "of 397", "0.9815", "0.9852",
          "0.9992", "not given", "0.9956", "not given", "< 0.001", "not given")


_READING = (
    "Validation rows: mean ± SD over folds; p is the largest of the folds. Test rows: mean ± SD over participants, "
    "whose hips and visits are averaged first; n_missed of them have a hip that was not found (Dice 0). R2 = 1 - "
    "SSE/SST of the volumes about the line of identity, r and p Pearson's, SEE the standard error of the estimate "
    "about the regression line of predicted on reference volume. Specificity and R2 depend on the field of view and on "
    "the spread of the volumes; specificity_near, the columns _fair (both masks cut at one distal level) and SEE do "
    "not. Definitions: docs/metrics.md, docs/howto_study.md.")


@dataclass(frozen=True)
class StudyRow:
    """One row of study.csv.

    Attributes
    ----------
    trainer, plans, settings : str
        The arm.
    part : str
        ``validation`` or ``test``.
    cohort : str
        Cohort that was trained on: all, women, men.
    site, sex : str
        Who is evaluated; ``all`` allowed.
    unit : str
        What n counts and SD is over: ``folds`` or ``participants``.
    n, n_missed : int
        Number of units; participants with a missed hip.
    choices : int
        Test rows: different choices of this trainer that have seen the test set; 0 for validation.
    mean, sd : mapping
        By metric. Of test rows, agreement has one value and no SD.
    """

    trainer: str
    plans: str
    settings: str
    part: str
    cohort: str
    site: str
    sex: str
    unit: str
    n: int
    n_missed: int
    choices: int
    mean: Mapping[str, float]
    sd: Mapping[str, float]


def validation_row(rows: Sequence[FoldRow]) -> StudyRow:
    """Return mean and SD over the folds of one arm and cohort.

    The p-value is the largest of the folds: a mean of p-values says nothing.
    """
    first = rows[0]
    values = {name: [row.values[name] for row in rows] for name in (*MEAN_METRICS, *AGREEMENT_METRICS)}
    mean = {name: mean_of(own) for name, own in values.items()}
    sd = {name: sd_of(own) for name, own in values.items()}
    for name in ("p_value", "p_value_fair"):
        finite = [value for value in values[name] if math.isfinite(value)]
        mean[name], sd[name] = max(finite, default=math.nan), math.nan
    sex = {"women": "F", "men": "M"}.get(first.cohort, ALL)
    return StudyRow(first.trainer, first.plans, first.settings, "validation", first.cohort, ALL, sex, "folds",
                    len(rows), sum(row.n_missed for row in rows), 0, mean, sd)


def rows_of_test_set(cases: Sequence[CaseRow], *, trainer: str, plans: str, settings: str, cohort: str,
              choices: int) -> list[StudyRow]:
    """Return the rows of one use of the test set: everybody, women and men, and each site where there are several."""
    sites = sites_of(cases)
    shown = []
    for site in (ALL, *(sites if len(sites) > 1 else ())):
        for sex in SEXES if cohort == "all" else ({"women": "F", "men": "M"}[cohort],):
            group = select(cases, site=site, sex=sex)
            if group:
                shown.append(_test_row(measure_group(group), trainer, plans, settings, cohort, site, sex, choices))
    return shown


def write_study_csv(path: Path, rows: Iterable[StudyRow]) -> None:
    """Write study.csv: fractions 0..1, distances in mm, volumes in ml."""
    write_table(path, STUDY_COLUMNS, [
        [row.trainer, row.plans, row.settings, row.part, row.cohort, row.site, row.sex, row.unit, row.n, row.n_missed,
         row.choices or None,
         *(source[name] for name in (*MEAN_METRICS, *AGREEMENT_METRICS) for source in (row.mean, row.sd))]
        for row in rows])


def write_study_markdown(path: Path, rows: Sequence[StudyRow], scores: Sequence[CandidateScore],
                         facts: Sequence[str]) -> None:
    """Write study.md: what was run, the table, its fair-extent twin, the grid, and how to read them."""
    again = sorted({(row.trainer, row.choices) for row in rows if row.choices > 1})
    warnings = [f"**The test set was used with {count} different choices of {trainer} (`--again`): its test rows are "
                "no unseen test any more.**" for trainer, count in again]
    lines = ["# Study", "", *(f"- {fact}" for fact in facts), "", *(line for text in warnings for line in (text, "")),
             *_markdown(("trainer", "part", "trained on", "evaluated on", "site", "n", "Dice", "sensitivity",
                         "specificity", "specificity_near", "R2", "r", "p", "SEE ml"),
                        [*(_main_cells(row) for row in rows), _PAPER]), "",
             "## Fair extent, and distances", "",
             *_markdown(("trainer", "part", "trained on", "evaluated on", "site", "n", "n_missed", "Dice_fair",
                         "sensitivity_fair", "precision_fair", "R2_fair", "SEE_fair ml", "HD95 mm", "HD95_fair mm",
                         "ASSD mm", "ASSD_fair mm"), [_fair_cells(row) for row in rows])]
    if scores:
        lines += ["", "## Candidates", "", "Chosen on cross-validation alone: largest mean validation Dice over the "
                  "folds.", "",
                  *_markdown(("trainer", "settings", "plan", "cohort", "folds", "validation Dice", "chosen"),
                             [(one.arm.trainer, one.arm.settings, one.arm.plans_name, one.cohort, str(one.n_folds),
                               _mean_sd(one.mean, one.sd, 4), "yes" if one.chosen else "") for one in scores])]
    write_text(path, "\n".join([*lines, "", _READING, ""]))


def _test_row(group: GroupValues, trainer: str, plans: str, settings: str, cohort: str, site: str, sex: str,
              choices: int) -> StudyRow:
    return StudyRow(trainer, plans, settings, "test", cohort, site, sex, "participants", group.n, group.n_missed,
                    choices, {**group.mean, **group.agreement},
                    {**group.sd, **dict.fromkeys(AGREEMENT_METRICS, math.nan)})


def _who(row: StudyRow) -> tuple[str, ...]:
    n = f"{row.n} folds" if row.unit == "folds" else str(row.n)
    return row.trainer, row.part, row.cohort, _SEX_NAMES[row.sex], row.site, n


def _main_cells(row: StudyRow) -> tuple[str, ...]:
    cell = _cells_of(row)
    p = row.mean["p_value"]
    return (*_who(row), *(cell(name, 4) for name in ("dice", "sensitivity", "specificity", "specificity_near", "r2",
                                                     "pearson_r")),
            "n/a" if math.isnan(p) else "< 0.001" if p < _SIGNIFICANT else f"{p:.3f}", cell("see_ml", 2))


def _fair_cells(row: StudyRow) -> tuple[str, ...]:
    cell = _cells_of(row)
    return (*_who(row), str(row.n_missed), *(cell(name, 4) for name in ("dice_fair", "sensitivity_fair",
                                                                        "precision_fair", "r2_fair")),
            *(cell(name, 2) for name in ("see_ml_fair", "hd95_mm", "hd95_mm_fair", "assd_mm", "assd_mm_fair")))


def _cells_of(row: StudyRow) -> Callable[[str, int], str]:
    return lambda name, digits: _mean_sd(row.mean[name], row.sd[name], digits)


def _mean_sd(mean: float, sd: float, digits: int) -> str:
    if math.isnan(mean):
        return "n/a"
    return f"{mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {sd:.{digits}f}")


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
