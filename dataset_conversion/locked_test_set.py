"""Drawing the locked test set: by participant, balanced by site, sex and age band, and never moved again."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from femur_nnunet.cohort import Role
from femur_nnunet.dataset_conversion.strata import Participant, shuffle_rank


def draw_roles(candidates: Sequence[Participant], fraction: float, *, locked: Mapping[str, Role] | None = None,
               sites_with_test: Sequence[str] = (), seed: int = 0) -> dict[str, Role]:
    """Give every candidate a role.

    In each site ``fraction`` of the candidates (rounded to the nearest number) are drawn into the
    test set; at least one where the site has none yet and two candidates, and never the last one,
    so that training keeps somebody. The next one drawn is always the one whose sex, age band and
    combination of both lie furthest below their share of the test set; ties are broken by a hash of
    seed and id.

    Parameters
    ----------
    candidates : sequence of Participant
        Participants whose role nobody has given.
    fraction : float
        Share of the test set, 0 to below 1; 0 draws none.
    locked : mapping
        Roles of an earlier run; who has one keeps it, and counts for the share.
    sites_with_test : sequence of str
        Sites that have test participants by a given role already.
    seed : int
        Seed of the draw.

    Returns
    -------
    dict
        participant_id -> ``train`` or ``test``, for every candidate.
    """
    locked = locked or {}
    roles: dict[str, Role] = {}
    by_site: dict[str, list[Participant]] = defaultdict(list)
    for person in sorted(candidates, key=lambda item: item.participant_id):
        by_site[person.site].append(person)
    for site, people in by_site.items():
        test = {person.participant_id for person in people if locked.get(person.participant_id) == "test"}
        wanted = math.floor(fraction * len(people) + 0.5)
        if fraction > 0 and not test and site not in sites_with_test:
            wanted = max(wanted, 1)
        wanted = min(wanted, len(people) - 1)
        free = [person for person in people if person.participant_id not in locked]
        free.sort(key=lambda person: shuffle_rank("test", seed, person.participant_id))
        while len(test) < wanted and free:
            chosen = max(free, key=_shortfall(people, test, wanted))
            free.remove(chosen)
            test.add(chosen.participant_id)
        roles |= {person.participant_id: "test" if person.participant_id in test else "train" for person in people}
    return roles


def _shortfall(people: Sequence[Participant], test: set[str], wanted: int) -> Callable[[Participant], float]:
    """Return how far a participant's sex, age band and both lie below their share of the test set."""
    share = wanted / len(people)
    in_all = Counter(trait for person in people for trait in _traits(person))
    in_test = Counter(trait for person in people if person.participant_id in test for trait in _traits(person))

    def lack(person: Participant) -> float:
        # Rounded, since sums of the same numbers in another order must tie.
        return round(sum(share * in_all[trait] - in_test[trait] for trait in _traits(person)), 9)

    return lack


def _traits(person: Participant) -> tuple[tuple[str, ...], ...]:
    return ("sex", person.sex), ("age", person.age_band), ("both", person.sex, person.age_band)
