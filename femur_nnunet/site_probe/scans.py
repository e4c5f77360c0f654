"""Which scans a probe looks at: of the locked test set where there are enough, else of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.errors import UsageError
from femur_nnunet.loading.training_cases import fold_cases, fold_cohort, read_fold_splits
from femur_nnunet.site_probe.statistics import FEWEST_PARTICIPANTS

ScanChoice = Literal["auto", "test", "fold"]


@dataclass(frozen=True)
class ProbeScan:
    """A scan to look at.

    Attributes
    ----------
    case_id, participant_id, site : str
        As in the cohort table.
    raw_image : Path or None
        Image of the locked test set; None for a scan that is preprocessed.
    unlabelled : bool
        Whether it lies in the folder of unlabelled preprocessed scans; trainers with adaptation terms have seen it.
    """

    case_id: str
    participant_id: str
    site: str
    raw_image: Path | None = None
    unlabelled: bool = False


def choose_scans(choice: ScanChoice, *, raw: Path | None, preprocessed: Path | None,
                 fold: int) -> tuple[Literal["test", "fold"], list[ProbeScan]]:
    """Return the kind of scans that was chosen, and the scans.

    Parameters
    ----------
    choice : {"auto", "test", "fold"}
        ``test``: the locked test set of all sites, which no training has seen. ``fold``: the fold's validation
        scans and its unlabelled training scans, which trainings with adaptation terms have seen. ``auto``: ``test``
        where at least two sites have three participants each, else ``fold``.
    raw, preprocessed : Path or None
        The dataset's folders, None where absent.
    fold : int
        The fold that the networks were trained on.

    Raises
    ------
    UsageError
        The folder that the choice needs is not there.
    """
    if choice != "fold" and raw is not None:
        scans = _test_scans(raw)
        if choice == "test" or _enough(scans):
            return "test", scans
    if choice == "test":
        raise UsageError("no raw folder of the dataset", expected="nnUNet_raw with its imagesTs",
                         action="set nnUNet_raw, or take --scans fold")
    if preprocessed is None:
        raise UsageError("neither enough test scans nor preprocessed data", expected="imagesTs of at least two sites "
                         f"with {FEWEST_PARTICIPANTS} participants each, or data that femur_plan preprocessed",
                         action="set nnUNet_raw or nnUNet_preprocessed, or convert more participants")
    return "fold", _fold_scans(preprocessed, fold)


def _test_scans(raw: Path) -> list[ProbeScan]:
    records = [record for record in read_scans_table(raw / SCANS_TABLE_NAME) if record.role == "test"]
    images = {record.case_id: raw / "imagesTs" / f"{record.case_id}_0000.nii.gz" for record in records}
    return [_scan(record, raw_image=images[record.case_id]) for record in records if images[record.case_id].is_file()]


def _fold_scans(preprocessed: Path, fold: int) -> list[ProbeScan]:
    records = {record.case_id: record for record in read_scans_table(preprocessed / SCANS_TABLE_NAME)}
    train, validation = read_fold_splits(preprocessed, fold, allow_all=False, available=records)
    cases = fold_cases(preprocessed, train, validation, cohort=fold_cohort(preprocessed, fold))
    return [*(_scan(records[case]) for case in cases.validation),
            *(_scan(records[case], unlabelled=True) for case in cases.unlabelled)]


def _scan(record: ScanRecord, *, raw_image: Path | None = None, unlabelled: bool = False) -> ProbeScan:
    return ProbeScan(record.case_id, record.participant_id, record.site, raw_image, unlabelled)


def _enough(scans: Sequence[ProbeScan]) -> bool:
    people: dict[str, set[str]] = {}
    for scan in scans:
        people.setdefault(scan.site, set()).add(scan.participant_id)
    return len(people) >= 2 and min(map(len, people.values())) >= FEWEST_PARTICIPANTS
