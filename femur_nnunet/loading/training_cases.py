"""Which cases a fold trains on: labelled ones by the splits, unlabelled ones by the cohort table."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.splits import read_splits

UNLABELLED_SUFFIX = "_unlabelled"
_FEWEST_TO_HOLD_OUT = 5


@dataclass(frozen=True)
class FoldCases:
    """Cases of one fold, sorted.

    Attributes
    ----------
    train, validation : list of str
        Labelled case ids.
    unlabelled : list of str
        Unlabelled training case ids, without participants of the test set or of this validation set.
    sites : list of str
        Sites of all training cases: the labelled ones first, each part sorted.
    """

    train: list[str]
    validation: list[str]
    unlabelled: list[str]
    sites: list[str]

    @property
    def labelled_sites(self) -> list[str]:
        """Sites with labelled training cases, sorted."""
        return sorted({parse_case_id(case).site for case in self.train})

    def without_unlabelled_of_labelled_sites(self) -> FoldCases:
        """Return the same cases less the unlabelled ones of sites that bring labelled ones.

        Batches fill such a site's slots from its labelled cases, and a score of the target that was
        taken on its scans would be one of the source.
        """
        labelled_sites = self.labelled_sites
        return replace(self, unlabelled=[case for case in self.unlabelled
                                         if parse_case_id(case).site not in labelled_sites])


def read_fold_splits(preprocessed_folder: Path, fold: int | str, *, allow_all: bool,
                     available: Collection[str]) -> tuple[list[str], list[str]]:
    """Return training and validation case ids of a fold after checking hash, sides and presence.

    Parameters
    ----------
    preprocessed_folder : Path
        ``nnUNet_preprocessed/DatasetXXX_...`` with splits_final.json, its index and its hash.
    fold : int or "all"
        Fold to read.
    allow_all : bool
        Whether ``all`` is allowed.
    available : collection of str
        Case ids that are preprocessed.

    Raises
    ------
    FemurError
        A split file is missing or was changed, a participant leaks, a case contradicts the cohort table
        (it has the role test, say), or a case is not preprocessed.
    UsageError
        The fold lies outside, or fold ``all`` is not allowed.
    """
    splits = read_splits(preprocessed_folder, nnunet_name=True)
    splits.check_against(read_scans_table(preprocessed_folder / SCANS_TABLE_NAME))
    if fold == "all":
        if not allow_all:
            raise UsageError("fold all", expected="a fold with a validation set of its own",
                             action="give a fold number, or set splits.allow_all in the plan's femur_nnunet block")
        everything = sorted(set(available) - set(splits.test))
        return everything, everything
    number = int(fold)
    if not 0 <= number < len(splits.folds):
        raise UsageError(f"fold {number}", expected=f"a fold from 0 to {len(splits.folds) - 1}",
                         action="give one of these, or draw more folds with femur_splits")
    train, validation = sorted(splits.folds[number]["train"]), sorted(splits.folds[number]["val"])
    absent = sorted(set(train + validation) - set(available))
    if absent:
        raise FemurError(f"{len(absent)} case(s) of the fold that are not preprocessed, the first {absent[0]}",
                         expected="every case of the fold in the preprocessed folder", action="run femur_plan again",
                         subject=f"fold {number}")
    return train, validation


def unlabelled_cases(records: Iterable[ScanRecord], *, kept_out: Collection[str] = ()) -> list[str]:
    """Return unlabelled training cases whose participant is not in ``kept_out`` (participant ids)."""
    return sorted(record.case_id for record in records
                  if record.role == "train" and not record.labelled and record.participant_id not in kept_out)


def fold_cohort(preprocessed_folder: Path, fold: int | str) -> str:
    """Return the cohort (all, women, men) that a fold was drawn over."""
    return "all" if fold == "all" else str(
        read_splits(preprocessed_folder, nnunet_name=True).index[int(fold)].get("cohort", "all"))


def fold_sha256(preprocessed_folder: Path, fold: int | str) -> str | None:
    """Return the hash of a fold's lists; None of fold ``all``, which has none of its own."""
    return None if fold == "all" else read_splits(preprocessed_folder, nnunet_name=True).fold_sha256[int(fold)]


def fold_cases(preprocessed_folder: Path, train: list[str], validation: list[str], *,
               cohort: str = "all") -> FoldCases:
    """Complete a fold with its unlabelled cases.

    A fold of women or men is completed with unlabelled scans of the same sex: scans of both would make
    sex a difference between the sites that the adaptation terms then fight.

    Raises
    ------
    FemurError
        scans.tsv is missing or broken, or lacks a case of the fold.
    """
    records = {record.case_id: record for record in read_scans_table(preprocessed_folder / SCANS_TABLE_NAME)}
    lacking = sorted(set(train + validation) - set(records))
    if lacking:
        raise FemurError(f"no row for {lacking[0]} ({len(lacking)} such cases)", expected="a row for every case",
                         action="run femur_plan again", subject=SCANS_TABLE_NAME)
    # With fold all, training and validation are the same cases: then only the test set is kept out.
    validation_only = set(validation) - set(train)
    kept_out = {record.participant_id for record in records.values()
                if record.role == "test" or record.case_id in validation_only}
    wanted_sex = {"all": None, "women": "F", "men": "M"}[cohort]
    unlabelled = [case for case in unlabelled_cases(records.values(), kept_out=kept_out)
                  if wanted_sex in (None, records[case].sex)]
    labelled_sites = sorted({records[case].site for case in train})
    other_sites = sorted({records[case].site for case in unlabelled} - set(labelled_sites))
    return FoldCases(train, validation, unlabelled, labelled_sites + other_sites)


def hold_out_unlabelled(unlabelled: list[str], fraction: float) -> tuple[list[str], list[str]]:
    """Part unlabelled cases by participant into those to train on and those kept out for scoring.

    Of each site with at least five participants a share, rounded and at least one, is kept out; of a
    smaller one nobody, since its scans are needed for training. The draw depends on the participants
    alone, so that all folds' and seeds' trainings of a cohort keep out the same ones.

    Parameters
    ----------
    unlabelled : list of str
        Case ids.
    fraction : float
        Share of the participants; 0 keeps out nobody.
    """
    owner = {case: (parse_case_id(case).site, parse_case_id(case).participant_hash) for case in unlabelled}
    kept_out: set[tuple[str, str]] = set()
    for site in sorted({site for site, _ in owner.values()}):
        participants = sorted({participant for participant in owner.values() if participant[0] == site})
        if fraction > 0 and len(participants) >= _FEWEST_TO_HOLD_OUT:
            count = max(1, round(fraction * len(participants)))
            kept_out |= {participants[number] for number in
                         np.random.default_rng(0).permutation(len(participants))[:count]}
    return ([case for case in unlabelled if owner[case] not in kept_out],
            [case for case in unlabelled if owner[case] in kept_out])
