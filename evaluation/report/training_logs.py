"""Logs of a training's adaptation and of the site probe, found below the folders that a user names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.evaluation.report.result_tables import number, read_texts
from femur_nnunet.files import read_json

ADAPTATION_CSV_NAME, ADAPTATION_JSON_NAME, PROBE_NAME = "adaptation.csv", "adaptation.json", "probe.csv"


@dataclass(frozen=True)
class AdaptationLog:
    """Curves of one fold.

    Attributes
    ----------
    name : str
        Trainer's folder and fold.
    curves : dict
        One value an epoch by column, NaN where none was measured.
    chance : float
        Accuracy of guessing the site, NaN where the number of sites is not known.
    verdict, reasons : str
        As in adaptation.json, "" where there is none.
    """

    name: str
    curves: dict[str, list[float]]
    chance: float
    verdict: str = ""
    reasons: str = ""


@dataclass(frozen=True)
class ProbeLine:
    """One line of probe.csv."""

    arm: str
    layer: str
    accuracy: float
    ci95_low: float
    ci95_high: float
    chance: float
    p_value: float


@dataclass(frozen=True)
class TrainingLogs:
    """What was found."""

    adaptation: list[AdaptationLog]
    probe: list[ProbeLine]


def read_training_logs(folders: Iterable[Path]) -> TrainingLogs:
    """Read adaptation.csv and probe.csv in these folders or one level below (fold_0, fold_1, ...).

    Raises
    ------
    UsageError
        There is no such folder.
    FemurError
        A table is broken.
    """
    adaptation: list[AdaptationLog] = []
    probe: list[ProbeLine] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError("no such folder", expected="the folder of a trained fold or arm, or of a site probe",
                             action="correct --training", subject=str(folder))
        for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
            if (place / ADAPTATION_CSV_NAME).is_file():
                adaptation.append(_adaptation(place))
            if (place / PROBE_NAME).is_file():
                probe += [_probe(texts, place) for texts in read_texts(place / PROBE_NAME)]
    return TrainingLogs(adaptation, probe)


def _adaptation(folder: Path) -> AdaptationLog:
    rows = read_texts(folder / ADAPTATION_CSV_NAME)
    try:
        curves = {column: [number(row[column]) for row in rows] for column in (rows[0] if rows else ())}
    except (KeyError, ValueError, TypeError) as error:
        raise FemurError(f"a broken table ({error})", expected="the adaptation.csv that a training writes",
                         action="leave this folder out of --training", subject=str(folder)) from None
    verdict, reasons, sites = "", "", 0
    if (folder / ADAPTATION_JSON_NAME).is_file():
        found = read_json(folder / ADAPTATION_JSON_NAME, what="adaptation.json", action="leave this folder out")
        verdict = str(found.get("verdict", ""))
        reasons, sites = "; ".join(map(str, found.get("reasons", []))), len(found.get("sites", []))
    # .../TransUNetDATrainer__FemurPlans__3d_fullres/fold_0: the trainer is what people know the arm by.
    whole = folder.resolve()
    name = f"{whole.parent.name.split('__')[0]}, {whole.name}" if whole.name.startswith("fold_") else whole.name
    return AdaptationLog(name, curves, 1.0 / sites if sites else math.nan, verdict, reasons)


def _probe(texts: dict[str, str], folder: Path) -> ProbeLine:
    try:
        return ProbeLine(texts["arm"], texts["layer"], *(number(texts[name]) for name in (
            "accuracy", "ci95_low", "ci95_high", "chance", "p_value")))
    except (KeyError, ValueError, TypeError) as error:
        raise FemurError(f"a broken table ({error})", expected="the probe.csv that femur_probe writes",
                         action="leave this folder out of --training", subject=str(folder)) from None
