"""Folds that take in new participants and leave everybody else where they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.folds import (
    LEAVE_SITE_OUT,
    cohort_members,
    fold_lists,
    refuse_two_sexes,
    test_list,
)
from femur_nnunet.dataset_conversion.strata import Participant, participants_of, shuffle_rank, some_of
from femur_nnunet.errors import FemurError
from femur_nnunet.splits import SplitSet

_DRAW_ANEW = "draw the folds anew without --extend"


@dataclass(frozen=True)
class ExtendedSplits:
    """Extended folds, and the participants that joined or left any of them, sorted."""

    splits: SplitSet
    joined: list[str]
    vanished: list[str]


def extend_split_set(records: Sequence[ScanRecord], present: SplitSet, *, seed: int = 0,
                     drop_vanished: bool = False) -> ExtendedSplits:
    """Extend folds to the dataset's present cases.

    Every participant goes on validating the fold that it validated, new visits and hips included. New
    participants are placed one after the other, each into the fold where balance gains most
    (:func:`best_fold`); under leave-site-out, into their site's fold.

    Parameters
    ----------
    records : sequence of ScanRecord
        The cohort table.
    present : SplitSet
        The folds so far.
    seed : int
        Seed of the order in which new participants are placed.
    drop_vanished : bool
        Go on without participants that are no longer among the labelled training cases.

    Raises
    ------
    FemurError
        Participants have vanished and may not; a participant of the locked test set has become a
        training participant; a fold would be left empty; leave-site-out meets a new site; a participant
        has two sexes.
    """
    refuse_two_sexes(records)
    _refuse_former_test(records, present)
    members = {str(entry["cohort"]): cohort_members(records, str(entry["cohort"])) for entry in present.index}
    people = {cohort: {person.participant_id: person for person in participants_of(cases)}
              for cohort, cases in members.items()}
    validating = [{parse_case_id(case).participant_id for case in fold["val"]} for fold in present.folds]
    joined: set[str] = set()
    vanished: set[str] = set()
    for cohort, persons in people.items():
        numbers = [number for number, entry in enumerate(present.index) if entry["cohort"] == cohort]
        placed = set().union(*(validating[number] for number in numbers))
        vanished |= placed - set(persons)
        for number in numbers:
            validating[number] &= set(persons)
        new = sorted((persons[name] for name in set(persons) - placed), key=lambda person: (
            *person.stratum, shuffle_rank("folds", seed, person.participant_id)))
        joined |= {person.participant_id for person in new}
        for person in new:
            if present.index[numbers[0]]["scheme"] == LEAVE_SITE_OUT:
                chosen = _fold_of_site(present, numbers, person)
            else:
                chosen = numbers[best_fold([[persons[name] for name in validating[number]] for number in numbers],
                                           person)]
            validating[chosen].add(person.participant_id)
    if vanished and not drop_vanished:
        raise FemurError(f"{some_of(vanished)} in the folds but no longer among the labelled training participants of "
                         "the cohort", expected="every participant of the folds in the dataset",
                         action="convert their scans again, or go on without them with --drop-vanished")
    for number, names in enumerate(validating):
        if not names:
            raise FemurError("nobody left to validate it", expected="at least one participant", action=_DRAW_ANEW,
                             subject=f"fold {number}")
    folds = [fold_lists(members[str(entry["cohort"])], names)
             for entry, names in zip(present.index, validating, strict=True)]
    return ExtendedSplits(SplitSet(folds=folds, index=present.index, test=test_list(records)), sorted(joined),
                          sorted(vanished))


def best_fold(folds: Sequence[Iterable[Participant]], new: Participant) -> int:
    """Return the fold whose balance gains most by a new participant.

    With n participants of a level in a fold and e expected there (the level's participants over the
    number of folds), imbalance is the sum of (n - e)^2 / e over the levels that the new one belongs to:
    everybody, the site, the sex, the age band, site and sex, and all three. One more in a fold changes it
    by the sum of (2 (n - e) + 1) / e; the fold with the least change is taken, and of equal ones the
    smallest, then the first. This is minimisation (Pocock and Simon 1975) without its random part.
    """
    counts = [Counter(level for person in fold for level in _levels(person)) for fold in folds]

    def change(number: int) -> tuple[float, int, int]:
        total = 0.0
        for level in _levels(new):
            expected = (1 + sum(count[level] for count in counts)) / len(counts)
            total += (2 * (counts[number][level] - expected) + 1) / expected
        # Rounded, since equal changes summed in floating point must tie.
        return round(total, 9), counts[number][("everybody",)], number

    return min(range(len(counts)), key=change)


def _levels(person: Participant) -> tuple[tuple[str, ...], ...]:
    return (("everybody",), ("site", person.site), ("sex", person.sex), ("age", person.age_band),
            ("site and sex", person.site, person.sex), ("all", *person.stratum))


def _fold_of_site(present: SplitSet, numbers: Sequence[int], person: Participant) -> int:
    for number in numbers:
        if present.index[number].get("site") == person.site:
            return number
    raise FemurError(f"{person.participant_id} of the new site {person.site}",
                     expected="participants of the sites that have a fold",
                     action=f"{_DRAW_ANEW}: a new site is a new fold, and later folds get other numbers")


def _refuse_former_test(records: Sequence[ScanRecord], present: SplitSet) -> None:
    test = {parse_case_id(case).participant_id for case in present.test}
    moved = {record.participant_id for record in records if record.role == "train"} & test
    if moved:
        raise FemurError(f"{some_of(moved)} with the role train, in the folds' locked test set before",
                         expected="a test set that never moves", action="restore the role in the manifest, convert "
                         "again; a model of these folds may not be tested on them otherwise")
