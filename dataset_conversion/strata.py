"""Participants as the drawing of test set and folds sees them: site, sex and age band."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from femur_nnunet.cohort import MISSING, ScanRecord
from femur_nnunet.files import sha256_of_text

_AGE_BAND_LIMITS_YEARS = (50, 60, 70, 80)
_MOST_NAMED = 5


@dataclass(frozen=True)
class Participant:
    """One person, with what drawing is balanced by."""

    participant_id: str
    site: str
    sex: str = MISSING
    age_band: str = MISSING

    @property
    def stratum(self) -> tuple[str, str, str]:
        """Site, sex and age band."""
        return self.site, self.sex, self.age_band


def age_band(age_years: float | None) -> str:
    """Return the decade band of an age: ``<50, 50-59, 60-69, 70-79, 80+`` or ``n/a``."""
    if age_years is None or age_years != age_years:
        return MISSING
    lower = [limit for limit in _AGE_BAND_LIMITS_YEARS if age_years >= limit]
    if not lower:
        return f"<{_AGE_BAND_LIMITS_YEARS[0]}"
    return f"{lower[-1]}+" if lower[-1] == _AGE_BAND_LIMITS_YEARS[-1] else f"{lower[-1]}-{lower[-1] + 9}"


def participants_of(records: Iterable[ScanRecord]) -> list[Participant]:
    """Return the persons behind the cases, sorted by id; the age is that of the first visit."""
    first: dict[str, ScanRecord] = {}
    for record in sorted(records, key=lambda item: (item.visit, item.case_id)):
        first.setdefault(record.participant_id, record)
    return [Participant(person, record.site, record.sex or MISSING, age_band(record.age_years))
            for person, record in sorted(first.items())]


def some_of(participant_ids: Iterable[str]) -> str:
    """Return the first participant ids and the number of the others, for a message."""
    names = sorted(participant_ids)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def shuffle_rank(purpose: str, seed: int, participant_id: str) -> str:
    """Return a pseudo-random sorting key of a participant.

    It depends on nothing but its arguments: the order of two participants stays what it is when
    others join, on every machine and for every version of numpy.
    """
    return sha256_of_text(f"{purpose}\n{seed}\n{participant_id}")
