"""The folds as an artefact: their form, their hash, and the checks that every user of them makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord
from femur_nnunet.errors import FemurError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text, write_json, write_text

SPLITS_NAME = "splits.json"
INDEX_NAME = "splits_index.json"
HASH_NAME = "splits.sha256"
NNUNET_SPLITS_NAME = "splits_final.json"
COHORT_SEX = {"all": None, "women": "F", "men": "M"}
_ACTION = "run femur_splits and femur_plan again; never edit the file by hand"


@dataclass(frozen=True)
class SplitSet:
    """Folds over the training participants, together with the locked test list.

    Attributes
    ----------
    folds : list of dict
        nnU-Net's form: one ``{"train": [case ids], "val": [case ids]}`` a fold.
    index : list of dict
        For each fold its ``scheme``, ``cohort`` (all, women, men) and ``k``; of leave-site-out also the
        ``site`` that validates it.
    test : list of str
        Case ids of the locked test set.
    """

    folds: list[dict[str, list[str]]]
    index: list[dict[str, Any]]
    test: list[str]

    @property
    def sha256(self) -> str:
        """SHA-256 over the canonical JSON of folds, index and test list."""
        return sha256_of_text(canonical_json({"folds": self.folds, "index": self.index, "test": self.test}))

    @property
    def fold_sha256(self) -> list[str]:
        """SHA-256 of each fold's lists, by which a changed fold can be named."""
        return [sha256_of_text(canonical_json(fold)) for fold in self.folds]

    def check(self) -> None:
        """Refuse a leak and lists that no training could use.

        Raises
        ------
        FemurError
            A participant stands on both sides of a fold, or a test participant in any fold; a list is
            empty or names a case twice.
        """
        if len(self.folds) != len(self.index):
            raise FemurError(f"{len(self.folds)} folds and {len(self.index)} index entries",
                             expected="one index entry a fold", action=_ACTION)
        for number, fold in enumerate(self.folds):
            for name, cases in fold.items():
                twice = [case for case, count in Counter(cases).items() if count > 1]
                if twice or not cases:
                    raise FemurError(f"{twice[0]} twice in {name}" if twice else f"no case in {name}",
                                     expected="at least one case in each list, and each case once", action=_ACTION,
                                     subject=f"fold {number}")
            for name, first, second in (("training and validation", fold["train"], fold["val"]),
                                        ("training and the locked test set", fold["train"], self.test),
                                        ("validation and the locked test set", fold["val"], self.test)):
                leak = _participants(first) & _participants(second)
                if leak:
                    person = min(leak)
                    rows = " and ".join(min(case for case in cases if parse_case_id(case).participant_id == person)
                                        for cases in (first, second))
                    raise FemurError(f"{person} in {name} ({rows}; {len(leak)} such participants)",
                                     expected="every participant on one side", action=_ACTION,
                                     subject=f"fold {number}")

    def check_against(self, records: Iterable[ScanRecord]) -> None:
        """Refuse folds that contradict the cohort table, whoever wrote them and whatever their hash.

        Raises
        ------
        FemurError
            A case of a fold has no row, is unlabelled, has the role test, or is of the other sex than
            the fold's cohort.
        """
        by_case = {record.case_id: record for record in records}
        for number, (fold, entry) in enumerate(zip(self.folds, self.index, strict=True)):
            sex = COHORT_SEX.get(str(entry.get("cohort", "all")))
            for name, cases in fold.items():
                wrong = [(case, reason) for case in cases if (reason := _contradiction(by_case.get(case), sex))]
                if wrong:
                    raise FemurError(f"{wrong[0][0]} in {name}, which {wrong[0][1]} in {SCANS_TABLE_NAME} "
                                     f"({len(wrong)} such cases)",
                                     expected="labelled cases of the role train and of the fold's cohort alone",
                                     action=_ACTION, subject=f"fold {number}")


def write_splits(folder: Path, splits: SplitSet, *, nnunet_name: bool = False) -> None:
    """Write folds, index and hash into ``folder``, the hash last.

    With ``nnunet_name`` the folds are called splits_final.json, as nnU-Net expects them beside the
    preprocessed data.
    """
    splits.check()
    write_json(folder / (NNUNET_SPLITS_NAME if nnunet_name else SPLITS_NAME), splits.folds)
    write_json(folder / INDEX_NAME, {"folds": splits.index, "fold_sha256": splits.fold_sha256, "test": splits.test})
    write_text(folder / HASH_NAME, splits.sha256 + "\n")


def read_splits(folder: Path, *, nnunet_name: bool = False) -> SplitSet:
    """Read folds from ``folder`` and check their hash and their sides.

    Raises
    ------
    FemurError
        A file is missing or broken, the hash does not fit, or a participant leaks.
    """
    path = folder / (NNUNET_SPLITS_NAME if nnunet_name else SPLITS_NAME)
    folds = read_json(path, what="the folds that femur_splits wrote", action=_ACTION)
    index = read_json(folder / INDEX_NAME, what="the index that femur_splits wrote", action=_ACTION)
    hash_path = folder / HASH_NAME
    stored = hash_path.read_text(encoding="ascii", errors="replace").strip() if hash_path.exists() else "no hash file"
    try:
        splits = SplitSet(folds=[{"train": list(fold["train"]), "val": list(fold["val"])} for fold in folds],
                          index=_entries(index), test=[str(case) for case in index["test"]])
    except (KeyError, TypeError) as error:
        raise FemurError(f"a fold file of another form ({error!r})", expected="train and val lists for each fold",
                         action=_ACTION, subject=str(path)) from None
    if splits.sha256 != stored:
        raise FemurError(f"folds whose hash is {splits.sha256[:12]}, beside a recorded {stored[:12]}"
                         f"{_changed_folds(splits, index.get('fold_sha256'))}",
                         expected="folds unchanged since femur_splits wrote them", action=_ACTION, subject=str(path))
    splits.check()
    return splits


def _changed_folds(splits: SplitSet, recorded: Any) -> str:
    """Return which folds were changed; an older file records no hash a fold."""
    if not isinstance(recorded, list):
        return ""
    if len(recorded) != len(splits.folds):
        return f" ({len(splits.folds)} folds in place of {len(recorded)})"
    changed = [number for number, (now, then) in enumerate(zip(splits.fold_sha256, recorded, strict=True))
               if now != then]
    return f" (changed: {', '.join(f'fold {number}' for number in changed) or 'index, test list or hash'})"


def _contradiction(record: ScanRecord | None, sex: str | None) -> str:
    if record is None:
        return "has no row"
    if record.role != "train":
        return f"has the role {record.role}"
    if not record.labelled:
        return "is unlabelled"
    return "" if sex in (None, record.sex) else f"is of sex {record.sex or 'n/a'}"


def _entries(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(entry) for entry in index["folds"]]


def _participants(case_ids: Sequence[str]) -> set[str]:
    return {parse_case_id(case).participant_id for case in case_ids}
