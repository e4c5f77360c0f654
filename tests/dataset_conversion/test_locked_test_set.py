from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.dataset_conversion.locked_test_set import draw_roles
from femur_nnunet.dataset_conversion.strata import Participant

BANDS = ["<50", "50-59", "60-69", "70-79", "80+", "n/a"]


def people(n: int, site: str = "tulane", sexes: str = "FM", bands: tuple[str, ...] = ("60-69", "70-79"),
           start: int = 0) -> list[Participant]:
    return [Participant(f"{site}-{number:04d}", site, sexes[number % len(sexes)],
                        bands[number // len(sexes) % len(bands)]) for number in range(start, start + n)]


@st.composite
def cohorts(draw: st.DrawFn) -> list[Participant]:
    rows = draw(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["F", "M", "n/a"]),
                                   st.sampled_from(BANDS)), min_size=1, max_size=40))
    return [Participant(f"{number:04d}", *row) for number, row in enumerate(rows)]


def drawn(roles: dict[str, str]) -> set[str]:
    return {person for person, role in roles.items() if role == "test"}


def test_a_tenth_of_forty_is_four_and_balanced_by_sex_and_age() -> None:
    cohort = people(40)
    test = drawn(draw_roles(cohort, 0.1))
    assert len(test) == 4
    assert Counter((p.sex, p.age_band) for p in cohort if p.participant_id in test) == {
        ("F", "60-69"): 1, ("F", "70-79"): 1, ("M", "60-69"): 1, ("M", "70-79"): 1}


@given(cohorts(), st.floats(0.01, 0.6), st.integers(0, 5))
def test_each_site_gives_its_share_and_keeps_somebody_for_training(
        cohort: list[Participant], fraction: float, seed: int) -> None:
    roles = draw_roles(cohort, fraction, seed=seed)
    assert set(roles) == {person.participant_id for person in cohort}
    for site in {person.site for person in cohort}:
        members = [person.participant_id for person in cohort if person.site == site]
        n_test = sum(roles[member] == "test" for member in members)
        share = fraction * len(members)
        assert n_test < len(members)
        assert n_test in (0 if len(members) == 1 else 1, int(share + 0.5), len(members) - 1)
        assert n_test >= min(1, len(members) - 1)


@given(cohorts(), cohorts(), st.floats(0.05, 0.5), st.integers(0, 3))
def test_who_has_a_role_keeps_it_when_others_join(
        first: list[Participant], others: list[Participant], fraction: float, seed: int) -> None:
    roles = draw_roles(first, fraction, seed=seed)
    joined = [Participant(f"new{person.participant_id}", *person.stratum) for person in others]
    later = draw_roles([*joined, *first], fraction, locked=roles, seed=seed)
    assert {person: later[person] for person in roles} == roles


@given(cohorts(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(cohort: list[Participant], random: object) -> None:
    shuffled = list(cohort)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert draw_roles(shuffled, 0.2) == draw_roles(cohort, 0.2)


def test_another_seed_draws_others() -> None:
    cohort = people(40)
    assert len({frozenset(drawn(draw_roles(cohort, 0.1, seed=seed))) for seed in range(5)}) > 1


def test_ten_more_participants_bring_one_more_test_participant() -> None:
    roles = draw_roles(people(20), 0.1)
    later = draw_roles(people(30), 0.1, locked=roles)
    assert len(drawn(roles)) == 2
    assert len(drawn(later)) == 3
    assert drawn(roles) < drawn(later)


def test_fraction_0_draws_none() -> None:
    assert not drawn(draw_roles(people(10), 0))


def test_a_site_with_given_test_participants_need_not_give_another_one() -> None:
    assert len(drawn(draw_roles(people(3), 0.1))) == 1
    assert not drawn(draw_roles(people(3), 0.1, sites_with_test=["tulane"]))
