"""Checks across the rows of all tables: one person is one person, and one case comes once."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from femur_nnunet.case_ids import participant_hash
from femur_nnunet.dataset_conversion.manifest import ManifestRow, RowProblem
from femur_nnunet.errors import FemurError

Person = tuple[str, str]
_HIPS = {"left": {"left"}, "right": {"right"}, "both": {"left", "right"}}


def check_cohort(rows: Sequence[ManifestRow]) -> tuple[list[ManifestRow], list[RowProblem]]:
    """Part the rows into sound ones and ones that contradict each other.

    Refused are: a second row for the same hip of the same visit (the first one stays), all rows of a
    participant of two sexes, and all rows of a participant of two roles. A sex or role that stands in
    one row of a participant counts for all of them.

    Returns
    -------
    sound : list of ManifestRow
        In the order given, sex and role filled in.
    problems : list of RowProblem
        One for each refused row; the message names the other row.
    """
    problems: list[RowProblem] = []
    by_person: dict[Person, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        by_person[row.person].append(row)
    refused: set[int] = set()
    for person_rows in by_person.values():
        for column, expected, action in (
                ("sex", "one sex a participant", "correct the wrong row, or give two persons two participant_ids"),
                ("role", "one role a participant (all visits and both hips together)", "give all rows one role")):
            clash = _contradiction(person_rows, column, expected, action)
            problems += clash
            refused.update(id(problem.row) for problem in clash)
    first_of_hip: dict[tuple[str, str, int, str], ManifestRow] = {}
    sound = []
    for row in rows:
        if id(row) in refused:
            continue
        hips = [(row.site, row.participant, row.visit, hip) for hip in sorted(_HIPS[row.side])]
        other = next((first_of_hip[hip] for hip in hips if hip in first_of_hip), None)
        if other is not None:
            problems.append(RowProblem(row.source, row.number, FemurError(
                f"a duplicate case: {other.label} has the same participant, visit and side",
                expected="one row a hip and visit", action="correct visit or side, or remove one of the rows",
                subject=row.label), row))
            continue
        first_of_hip.update(dict.fromkeys(hips, row))
        person_rows = by_person[row.person]
        sound.append(replace(row, sex=next((item.sex for item in person_rows if item.sex), None),
                             role=next((item.role for item in person_rows if item.role), None)))
    return sound, _once_a_row(problems)


def alike_participants(rows: Sequence[ManifestRow]) -> list[str]:
    """Return a warning for each group of participants of one site whose names may mean one person.

    Names count as alike if they differ in letter case, spaces, hyphens or leading zeros alone. The hips of
    one person under two names would come to stand on both sides of a fold.
    """
    first_rows: dict[Person, dict[str, ManifestRow]] = defaultdict(dict)
    for row in rows:
        plain = unicodedata.normalize("NFKC", row.participant).casefold()
        plain = "".join(character for character in plain if character.isalnum()).lstrip("0")
        first_rows[row.site, plain].setdefault(row.participant, row)
    return [f"{' and '.join(row.label for row in group.values())}: found participant_ids that differ only in letter "
            "case, spaces, hyphens or leading zeros; expected one id a person; correct them if they are one person"
            for group in first_rows.values() if len(group) > 1]


def refuse_hash_collisions(rows: Sequence[ManifestRow],
                           key: bytes) -> tuple[list[ManifestRow], list[RowProblem]]:
    """Refuse every participant whose 8-digit hash another participant of the site already has."""
    owner: dict[tuple[str, str], Person] = {}
    sound, problems = [], []
    for row in rows:
        hashed = (row.site, participant_hash(key, row.site, row.participant))
        if owner.setdefault(hashed, row.person) == row.person:
            sound.append(row)
        else:
            problems.append(RowProblem(row.source, row.number, FemurError(
                "a participant whose hash another participant has too", expected="one hash a participant",
                action="convert into a new dataset with another key", subject=row.label), row))
    return sound, problems


def _contradiction(rows: Sequence[ManifestRow], column: str, expected: str, action: str) -> list[RowProblem]:
    with_value = [row for row in rows if getattr(row, column) is not None]
    if len({getattr(row, column) for row in with_value}) < 2:
        return []
    values = ", ".join(f"{getattr(row, column)} in {row.label}" for row in with_value)
    return [RowProblem(row.source, row.number, FemurError(f"a participant of two {_PLURALS[column]} ({values})",
                                                          expected=expected, action=action, subject=row.label), row)
            for row in rows]


_PLURALS = {"sex": "sexes", "role": "roles"}


def _once_a_row(problems: Sequence[RowProblem]) -> list[RowProblem]:
    first: dict[tuple[str, int], RowProblem] = {}
    for problem in problems:
        first.setdefault((problem.source, problem.number), problem)
    return sorted(first.values(), key=lambda problem: (problem.source, problem.number))
