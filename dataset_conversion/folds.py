"""Drawing folds over the training participants, stratified by site, sex and age band."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.strata import Participant, participants_of, shuffle_rank, some_of
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.splits import COHORT_SEX, SplitSet

COHORTS = tuple(COHORT_SEX)
LEAVE_SITE_OUT = "leave-site-out"
_SCHEME_PATTERN = re.compile(r"kfold([0-9]+)")


def parse_scheme(scheme: str) -> int | None:
    """Return the number of folds of a scheme such as ``kfold5``; None for leave-site-out, whose number the sites give.

    Raises
    ------
    UsageError
        The scheme is none of kfold2, kfold3, ..., leave-site-out.
    """
    if scheme == LEAVE_SITE_OUT:
        return None
    match = _SCHEME_PATTERN.fullmatch(scheme)
    if match is None or int(match.group(1)) < 2:
        raise UsageError(f"the scheme {scheme!r}", action="correct --scheme",
                         expected=f"kfoldN with N of at least 2, as in kfold5, or {LEAVE_SITE_OUT}")
    return int(match.group(1))


def parse_cohorts(text: str) -> tuple[str, ...]:
    """Return the cohorts of a list such as ``all,women,men``, in the order in which folds are numbered.

    Raises
    ------
    UsageError
        A cohort is unknown, or none is named.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names or not names <= set(COHORTS):
        raise UsageError(f"the cohorts {text!r}", expected=f"a list of {', '.join(COHORTS)}",
                         action="correct --cohorts")
    return tuple(name for name in COHORTS if name in names)


def draw_folds(participants: Sequence[Participant], n_folds: int, seed: int) -> list[list[str]]:
    """Deal participants into folds.

    The participants are sorted by site, sex and age band, shuffled inside each of these strata, and
    dealt in turn. Every run of neighbours in that order is spread evenly, hence the folds differ by
    at most one participant in all, in every site, in every site and sex, and in every stratum.

    Parameters
    ----------
    participants : sequence of Participant
        Who is dealt; the order given does not matter.
    n_folds : int
        Number of folds, at least 2.
    seed : int
        Seed of the shuffle.

    Returns
    -------
    list of list of str
        For each fold the sorted participant ids that validate it.

    Raises
    ------
    FemurError
        There are fewer participants than folds.
    """
    if len(participants) < n_folds:
        raise FemurError(f"{len(participants)} participants for {n_folds} folds{_named(participants)}",
                         expected="at least one labelled training participant a fold",
                         action="ask for fewer folds, or convert more labelled scans")
    ordered = sorted(participants, key=lambda person: (
        *person.stratum, shuffle_rank("folds", seed, person.participant_id)))
    return [sorted(person.participant_id for person in ordered[fold::n_folds]) for fold in range(n_folds)]


def site_folds(participants: Sequence[Participant]) -> dict[str, list[str]]:
    """Return for each site, sorted, the participant ids that validate its fold: all of them.

    Raises
    ------
    FemurError
        There is one site or none: a fold would have nobody to train on.
    """
    sites = sorted({person.site for person in participants})
    if len(sites) < 2:
        raise FemurError(f"labelled training participants of {', '.join(sites) or 'no site'} alone"
                         f"{_named(participants)}", expected="at least two sites with masks for leave-site-out",
                         action="convert another site with masks, or ask for kfoldN")
    return {site: sorted(person.participant_id for person in participants if person.site == site) for site in sites}


def _named(participants: Sequence[Participant]) -> str:
    return f" ({some_of(person.participant_id for person in participants)})" if participants else ""


def cohort_members(records: Sequence[ScanRecord], cohort: str) -> list[ScanRecord]:
    """Return the labelled training cases of ``all``, ``women`` or ``men``."""
    return [record for record in records if record.role == "train" and record.labelled
            and COHORT_SEX[cohort] in (None, record.sex)]


def alone_in_stratum(records: Sequence[ScanRecord], cohorts: Sequence[str]) -> list[str]:
    """Return the participants of the cohorts that are the only ones of their site and sex.

    The fold that such a participant validates has nobody like it to train on, and all others nobody to validate on.
    Age bands are finer than a small cohort can fill; they do not count here.

    Returns
    -------
    list of str
        Sorted, as ``sub-... (site, sex)``.
    """
    people = {person.participant_id: person for cohort in cohorts
              for person in participants_of(cohort_members(records, cohort))}.values()
    members = Counter((person.site, person.sex) for person in people)
    return sorted(f"{person.participant_id} ({person.site}, {person.sex})" for person in people
                  if members[person.site, person.sex] == 1)


def test_list(records: Sequence[ScanRecord]) -> list[str]:
    """Return the case ids of the locked test set, sorted."""
    return sorted(record.case_id for record in records if record.role == "test")


def build_split_set(records: Sequence[ScanRecord], *, scheme: str = "kfold5", cohorts: Sequence[str] = ("all",),
                    seed: int = 0) -> SplitSet:
    """Fold the labelled training cases of a dataset.

    All visits and both hips of a participant stay together. The folds of the whole cohort come
    first, then women, then men; the lists hold labelled training cases alone, and the test list
    every case of the locked test set.

    Raises
    ------
    FemurError
        A cohort has fewer participants than folds, or one site alone for leave-site-out, or a
        participant has two sexes.
    UsageError
        The scheme or a cohort is unknown.
    """
    n_folds = parse_scheme(scheme)
    refuse_two_sexes(records)
    folds: list[dict[str, list[str]]] = []
    index: list[dict[str, Any]] = []
    for cohort in parse_cohorts(",".join(cohorts)):
        members = cohort_members(records, cohort)
        people = participants_of(members)
        try:
            drawn: list[tuple[dict[str, Any], list[str]]] = (
                [({"site": site}, validation) for site, validation in site_folds(people).items()] if n_folds is None
                else [({}, validation) for validation in draw_folds(people, n_folds, seed)])
        except FemurError as error:
            raise FemurError(error.found, expected=error.expected, action=error.action,
                             subject=f"cohort {cohort}") from None
        for k, (site, validation) in enumerate(drawn):
            folds.append(fold_lists(members, validation))
            index.append({"scheme": scheme, "cohort": cohort, "k": k, **site})
    return SplitSet(folds=folds, index=index, test=test_list(records))


def fold_lists(members: Sequence[ScanRecord], validation: Collection[str]) -> dict[str, list[str]]:
    """Return nnU-Net's lists of a fold: the cohort's cases of the participants in ``validation``, and the rest."""
    return {"train": sorted(item.case_id for item in members if item.participant_id not in validation),
            "val": sorted(item.case_id for item in members if item.participant_id in validation)}


def refuse_two_sexes(records: Sequence[ScanRecord]) -> None:
    """Refuse a table that gives a participant two sexes in two rows.

    Raises
    ------
    FemurError
        Names both rows by their case ids.
    """
    first: dict[str, ScanRecord] = {}
    for record in (item for item in records if item.sex is not None):
        other = first.setdefault(record.participant_id, record)
        if other.sex != record.sex:
            raise FemurError(f"sex {other.sex} in {other.case_id} and {record.sex} in {record.case_id}",
                             expected="one sex a participant", action="correct the manifest and convert again",
                             subject=record.participant_id)
