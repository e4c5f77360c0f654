"""The folds as an artefact: their form, their hash, and the checks that every user of them makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.errors import FemurError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text, write_json, write_text

SPLITS_NAME = "splits.json"
INDEX_NAME = "splits_index.json"
HASH_NAME = "splits.sha256"
NNUNET_SPLITS_NAME = "splits_final.json"
_ACTION = "run femur_splits and femur_plan again; never edit the file by hand"


@dataclass(frozen=True)
class SplitSet:
    """Folds over the training participants, together with the locked test list.

    Attributes
    ----------
    folds : list of dict
        nnU-Net's form: one ``{"train": [case ids], "val": [case ids]}`` a fold.
    index : list of dict
        For each fold its ``scheme``, ``cohort`` (all, women, men) and ``k``.
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

    def check(self) -> None:
        """Refuse a leak.

        Raises
        ------
        FemurError
            A participant stands on both sides of a fold, or a test participant in any fold.
        """
        if len(self.folds) != len(self.index):
            raise FemurError(f"{len(self.folds)} folds and {len(self.index)} index entries",
                             expected="one index entry a fold", action=_ACTION)
        test_people = _participants(self.test)
        for number, fold in enumerate(self.folds):
            train, validation = _participants(fold["train"]), _participants(fold["val"])
            for name, overlap in (("training and validation", train & validation),
                                  ("training and the locked test set", train & test_people),
                                  ("validation and the locked test set", validation & test_people)):
                if overlap:
                    raise FemurError(f"{sorted(overlap)[0]} in {name} ({len(overlap)} such participants)",
                                     expected="every participant on one side", action=_ACTION,
                                     subject=f"fold {number}")


def write_splits(folder: Path, splits: SplitSet, *, nnunet_name: bool = False) -> None:
    """Write folds, index and hash into ``folder``, the hash last.

    With ``nnunet_name`` the folds are called splits_final.json, as nnU-Net expects them beside the
    preprocessed data.
    """
    splits.check()
    write_json(folder / (NNUNET_SPLITS_NAME if nnunet_name else SPLITS_NAME), splits.folds)
    write_json(folder / INDEX_NAME, {"folds": splits.index, "test": splits.test})
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
        raise FemurError(f"folds whose hash is {splits.sha256[:12]}, beside a recorded {stored[:12]}",
                         expected="folds unchanged since femur_splits wrote them", action=_ACTION, subject=str(path))
    splits.check()
    return splits


def _entries(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(entry) for entry in index["folds"]]


def _participants(case_ids: Sequence[str]) -> set[str]:
    return {parse_case_id(case).participant_id for case in case_ids}
