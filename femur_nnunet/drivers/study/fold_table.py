"""folds.csv: one row a finished fold, written as the fold ends; and the choice of a candidate from these rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from femur_nnunet._version import __version__
from femur_nnunet.cohort import MISSING
from femur_nnunet.drivers.study.group_values import AGREEMENT_METRICS, MEAN_METRICS, GroupValues
from femur_nnunet.drivers.study.protocol import Arm, CohortFolds
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.finite_values import mean_of, sd_of

FOLDS_NAME = "folds.csv"
GRID_NAME = "grid.csv"
SELECTION_METRIC = "dice"
_VALUES = (*MEAN_METRICS, *AGREEMENT_METRICS)
_NUMBERS = {"fold": int, "n": int, "n_missed": int, "seconds": float}


@dataclass(frozen=True)
class FoldRow:
    """A finished fold: what it was made of, and its validation.

    Attributes
    ----------
    trainer, plans, settings, cohort, fold
        Which fold; ``fold`` is nnU-Net's number.
    n, n_missed : int
        Validation participants, and those with a missed hip.
    seconds : float
        Wall time of training, validation and evaluation; NaN where it was trained elsewhere.
    device, finished, plan_sha256, fold_sha256, files_sha256, package_version : str
        Provenance. The hashes of plan, fold, and images and masks say whether a row still holds.
    values : mapping
        Means over participants and the agreement of volumes.
    """

    trainer: str
    plans: str
    settings: str
    cohort: str
    fold: int
    n: int
    n_missed: int
    seconds: float
    device: str
    finished: str
    plan_sha256: str
    fold_sha256: str
    files_sha256: str
    package_version: str = __version__
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        """What at most one row of the table has."""
        return self.trainer, self.plans, self.fold


_IDENTITY = tuple(item.name for item in fields(FoldRow) if item.name != "values")
FOLD_COLUMNS: tuple[str, ...] = (*_IDENTITY, *_VALUES)
GRID_COLUMNS = ("trainer", "plans", "settings", "cohort", "n_folds", "validation_dice_mean", "validation_dice_sd",
                "chosen")


@dataclass(frozen=True)
class CandidateScore:
    """A row of grid.csv: a candidate's cross-validation."""

    arm: Arm
    cohort: str
    n_folds: int
    mean: float
    sd: float
    chosen: bool


def values_of(group: GroupValues) -> dict[str, float]:
    """Return the values of a fold's row."""
    return {**group.mean, **group.agreement}


def read_folds(path: Path) -> list[FoldRow]:
    """Read folds.csv; none where it is not there yet.

    Raises
    ------
    FemurError
        A table of another form.
    """
    if not path.exists():
        return []
    rows = []
    for line, texts in enumerate(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))), start=2):
        try:
            identity: dict[str, Any] = {name: _NUMBERS.get(name, str)(_plain(texts[name])) for name in _IDENTITY}
            rows.append(FoldRow(**identity, values={name: float(_plain(texts[name])) for name in _VALUES}))
        except (KeyError, ValueError, TypeError) as error:
            raise FemurError(f"a row of another form ({error!r})", expected="the table as femur_study wrote it",
                             action="remove the table: finished folds are then evaluated again, not trained",
                             subject=f"{path} line {line}") from None
    return rows


def add_fold(path: Path, row: FoldRow) -> None:
    """Add a row, in place of an older one of the same fold; a reader never sees half a table."""
    rows = [one for one in read_folds(path) if one.key != row.key] + [row]
    write_table(path, FOLD_COLUMNS, [
        [*(asdict(one)[name] for name in _IDENTITY), *(one.values[name] for name in _VALUES)] for one in rows],
        exact=True)


def score_candidates(arms: Sequence[Arm], cohort: CohortFolds, rows: Iterable[FoldRow]) -> list[CandidateScore]:
    """Return every candidate's mean validation Dice over a cohort's folds; the largest, first of equals, is chosen.

    Raises
    ------
    FemurError
        A fold of a candidate has no row: a choice from unequal folds would be none.
    """
    by_key = {row.key: row for row in rows}
    scores = []
    for arm in arms:
        own = [by_key.get((arm.trainer, arm.plans_name, fold)) for fold in cohort.folds]
        finished = [row.values[SELECTION_METRIC] for row in own if row is not None]
        if len(finished) < len(cohort.folds):
            raise FemurError(f"{len(finished)} of {len(cohort.folds)} folds of {arm.name} ({arm.settings})",
                             expected="all folds of every candidate", action="run femur_study again")
        scores.append((mean_of(finished), sd_of(finished)))
    best = max(range(len(arms)), key=lambda number: _comparable(scores[number][0]))
    return [CandidateScore(arm, cohort.name, len(cohort.folds), mean, sd, number == best)
            for number, (arm, (mean, sd)) in enumerate(zip(arms, scores, strict=True))]


def write_grid(path: Path, scores: Iterable[CandidateScore]) -> None:
    """Write grid.csv: every candidate and which was chosen."""
    write_table(path, GRID_COLUMNS, [
        [one.arm.trainer, one.arm.plans_name, one.arm.settings, one.cohort, one.n_folds, one.mean, one.sd,
         str(one.chosen).lower()] for one in scores])


def _comparable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _plain(text: str) -> str:
    return "nan" if text == MISSING else text
