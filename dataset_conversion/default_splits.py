"""Keeping the folds beside a converted dataset in step with its cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.extended_folds import extend_split_set
from femur_nnunet.dataset_conversion.folds import alone_in_stratum, build_split_set, cohort_members, test_list
from femur_nnunet.dataset_conversion.strata import participants_of, some_of
from femur_nnunet.errors import FemurError
from femur_nnunet.splits import HASH_NAME, INDEX_NAME, SPLITS_NAME, SplitSet, read_splits, write_splits

DEFAULT_FOLDS = 5


def update_splits(dataset: Path, records: Sequence[ScanRecord], seed: int) -> list[str]:
    """Write folds that fit the dataset's cases, and return what the user should know about it.

    Folds that are there and fit stay as they are. Folds that no longer fit are extended: whoever is still
    there goes on validating the same fold. If that cannot be, they are drawn anew with their own scheme and
    cohorts; without any, five folds over the whole cohort are drawn, or as many as there are participants.
    With one participant or none there are no folds, and old ones are removed.
    """
    present = _present(dataset)
    if isinstance(present, SplitSet) and present.index and _fits(present, records):
        return []
    warnings = []
    if isinstance(present, FemurError):
        # Without its subject, which is the file's path: warnings go into run.json.
        warnings.append(f"the folds beside the dataset are drawn anew: found {present.found}; expected "
                        f"{present.expected}")
    if isinstance(present, SplitSet) and present.index:
        scheme = str(present.index[0].get("scheme"))
        cohorts = sorted({str(entry.get("cohort")) for entry in present.index})
        named = f"the cases have changed: the folds ({scheme}; {', '.join(cohorts)})"
        try:
            extended = extend_split_set(records, present, seed=seed, drop_vanished=True)
        except FemurError as error:
            warnings.append(f"{named} cannot be extended: {error}")
        else:
            write_splits(dataset, extended.splits)
            return [f"{named} were extended by {len(extended.joined)} participants and lost {len(extended.vanished)}; "
                    "all others stay where they were; run femur_plan again before training"]
        try:
            write_splits(dataset, build_split_set(records, scheme=scheme, cohorts=cohorts, seed=seed))
        except FemurError as error:
            warnings.append(f"the folds beside the dataset no longer fit it and their scheme cannot be kept: {error}")
        else:
            return [*warnings, f"the folds ({scheme}; {', '.join(cohorts)}) were drawn anew; run femur_plan again "
                    "before training"]
    people = len(participants_of(cohort_members(records, "all")))
    if people < 2:
        for name in (HASH_NAME, INDEX_NAME, SPLITS_NAME):
            (dataset / name).unlink(missing_ok=True)
        return [*warnings, f"no folds were drawn: found {people} labelled training participant(s); expected at "
                "least 2; convert more labelled scans before training"]
    n_folds = min(DEFAULT_FOLDS, people)
    if n_folds < DEFAULT_FOLDS:
        warnings.append(f"{n_folds} folds in place of {DEFAULT_FOLDS}: there are {people} labelled training "
                        "participants")
    write_splits(dataset, build_split_set(records, scheme=f"kfold{n_folds}", seed=seed))
    alone = alone_in_stratum(records, ["all"])
    if alone:
        warnings.append(f"folds in which {len(alone)} participant(s) are alone of their site and sex: "
                        f"{some_of(alone)}; expected at least two; convert more of them before a study")
    return warnings


def _present(dataset: Path) -> SplitSet | FemurError | None:
    if not any((dataset / name).exists() for name in (SPLITS_NAME, INDEX_NAME, HASH_NAME)):
        return None
    try:
        return read_splits(dataset)
    except FemurError as error:
        return error


def _fits(splits: SplitSet, records: Sequence[ScanRecord]) -> bool:
    if splits.test != test_list(records):
        return False
    for fold, entry in zip(splits.folds, splits.index, strict=True):
        members = {record.case_id for record in cohort_members(records, str(entry["cohort"]))}
        if set(fold["train"]) | set(fold["val"]) != members:
            return False
    return True
