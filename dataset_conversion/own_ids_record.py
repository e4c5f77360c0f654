"""Which of the user's own ids a dataset has given to whom: who is in it keeps the id, and with it the role.

The locked test set is a list of ids. If an id went over to another person, that person would be tested on, or trained
with, under a role that was drawn for somebody else. The record lies in the dataset and names nobody: participants
stand in it as keyed hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from femur_nnunet.case_ids import keyed_hash
from femur_nnunet.dataset_conversion.conversion_state import STATE_FOLDER_NAME
from femur_nnunet.dataset_conversion.manifest import ManifestRow
from femur_nnunet.dataset_conversion.participant_ids import GivenIds
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.files import read_json, write_json

RECORD_NAME = "own_ids.json"


def refuse_moved_ids(dataset: Path, secret: bytes, given: GivenIds, rows: Sequence[ManifestRow]) -> None:
    """Refuse a table of ids that gives somebody of the dataset another id, or somebody's id to another person.

    Parameters
    ----------
    dataset : Path
        The dataset, with or without a record.
    secret : bytes
        Key of the hashes.
    given : mapping
        The table of ids.
    rows : sequence of ManifestRow
        Rows of the tables, by whose numbers people are named.

    Raises
    ------
    UsageError
        An id has moved.
    """
    ids = _read(dataset)
    owners = {digits: hashed for hashed, digits in ids.items()}
    moved = []
    for person, digits in given.items():
        hashed = _hash(secret, person)
        if ids.get(hashed, digits) != digits or owners.get(digits, hashed) != hashed:
            moved.append(person)
    if moved:
        labels = sorted({row.label for row in rows if row.person in moved})
        raise UsageError(f"another id than before, or the id of somebody else, for {len(moved)} participant(s) in the "
                         f"table of ids ({', '.join(labels) or 'not in the other tables'})",
                         expected="the ids that this dataset was made with: its locked test set is a list of them",
                         action="restore the table behind --own-ids, or convert into a new dataset (another "
                         "--dataset-id)")


def record_own_ids(dataset: Path, secret: bytes, given: GivenIds, rows: Iterable[ManifestRow]) -> None:
    """Add the ids of the people whose rows come into the dataset to its record."""
    ids = _read(dataset)
    before = dict(ids)
    for row in rows:
        ids[_hash(secret, row.person)] = given[row.person]
    if ids != before:
        write_json(_path(dataset), {"schema": 1, "ids": ids}, sort_keys=True)


def _hash(secret: bytes, person: tuple[str, str]) -> str:
    return keyed_hash(secret, "own id", *person, digits=32)


def _path(dataset: Path) -> Path:
    return dataset / STATE_FOLDER_NAME / RECORD_NAME


def _read(dataset: Path) -> dict[str, str]:
    """Return keyed hash -> id."""
    path = _path(dataset)
    if not path.exists():
        return {}
    action = "restore it from a copy, or convert into a new dataset (another --dataset-id)"
    content = read_json(path, what="the record of own ids", action=action)
    try:
        return {str(hashed): str(digits) for hashed, digits in content["ids"].items()}
    except (KeyError, TypeError, AttributeError):
        raise FemurError("a record of own ids of another form", expected="the one that the conversion wrote",
                         action=action, subject=str(path)) from None
