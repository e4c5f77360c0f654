from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.phantom.cohort_plan import PRESETS, CohortSpec, plan_scans, with_scan_counts

SPEC = CohortSpec(n_tulane=3, n_rochester=2, n_test_tulane=1, n_test_rochester=1, size="tiny", seed=100)


def test_the_demo_cohort_has_the_promised_shape() -> None:
    plan = plan_scans(PRESETS["demo"])
    counts = Counter((scan.site, scan.role, scan.sex) for scan in plan)
    expected = {("tulane", "train"): 6, ("tulane", "test"): 2, ("rochester", "train"): 4,
                ("rochester", "test"): 2}
    assert counts == {(*key, sex): count for key, count in expected.items() for sex in ("F", "M")}


def test_unlabelled_shares_and_second_visits_are_counted_in_whole_participants() -> None:
    spec = CohortSpec(n_tulane=10, n_rochester=10, n_test_tulane=2, n_test_rochester=2, share_women=0.3,
                      unlabelled_share_rochester=0.5, second_visits_tulane=4, second_visits_rochester=4, seed=100)
    plan = plan_scans(spec)
    rochester = [scan for scan in plan if scan.site == "rochester"]
    assert len(rochester) == 14
    assert len({scan.number for scan in rochester if not scan.labelled}) == 4
    assert all(scan.labelled for scan in rochester if scan.role == "test")
    assert all(scan.labelled for scan in plan if scan.site == "tulane")
    assert len({scan.number for scan in rochester if scan.sex == "F"}) == 3


def test_the_vnet_study_has_216_women_and_181_men_and_a_tenth_held_out() -> None:
    plan = plan_scans(PRESETS["vnet-study"])
    assert Counter(scan.sex for scan in plan) == {"F": 216, "M": 181}
    assert Counter(scan.role for scan in plan) == {"train": 357, "test": 40}
    assert {scan.site for scan in plan} == {"tulane"}


def test_the_dual_site_cohort_has_the_published_numbers_of_scans() -> None:
    plan = plan_scans(PRESETS["dual-site"])
    assert Counter(scan.site for scan in plan) == {"tulane": 1024, "rochester": 384}
    assert {scan.site for scan in plan if scan.visit == 2} == {"tulane", "rochester"}
    assert all(scan.labelled for scan in plan if scan.role == "test")
    for site in ("tulane", "rochester"):
        assert any(scan.role == "test" for scan in plan if scan.site == site)
        assert any(not scan.labelled for scan in plan if scan.site == site)


@pytest.mark.parametrize("scans", [(1024, 384), (1024, 398), (64, 24), (17, 5), (1, 1)])
def test_scans_asked_for_are_scans_planned(scans: tuple[int, int]) -> None:
    plan = plan_scans(with_scan_counts(PRESETS["dual-site"], *scans))
    counts = Counter(scan.site for scan in plan)
    assert (counts["tulane"], counts["rochester"]) == scans


@pytest.mark.parametrize(("preset", "scans", "tested"), [
    ("dual-site", (4, 2), (1, 1)), ("vnet-study", (10, 5), (1, 1)), ("dual-site", (1, 0), (0, 0)),
    # A tenth of a site that the preset leaves empty, and the preset's share of the other one.
    ("vnet-study", (40, 30), (4, 3))])
def test_a_small_cohort_keeps_a_test_participant_at_each_site_of_two_or_more(
        preset: str, scans: tuple[int, int], tested: tuple[int, int]) -> None:
    spec = with_scan_counts(PRESETS[preset], *scans)
    assert (spec.n_test_tulane, spec.n_test_rochester) == tested


def test_a_cohort_without_test_participants_on_purpose_stays_without() -> None:
    assert with_scan_counts(replace(SPEC, n_test_tulane=0), 8, 8).n_test_tulane == 0


@pytest.mark.parametrize("change", [{"label_map_subjects": "a70"}, {"label_map_numbers": "right_femur=2,left_femur=1"}])
def test_options_of_label_maps_without_label_maps_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="but no label maps"):
        replace(SPEC, **change)


def test_a_second_visit_comes_one_to_three_years_later() -> None:
    plan = plan_scans(replace(PRESETS["dual-site"], seed=100))
    assert all(1.0 <= scan.years_since_first <= 3.0 for scan in plan if scan.visit == 2)
    assert all(scan.years_since_first == 0.0 for scan in plan if scan.visit == 1)


@pytest.mark.parametrize("change", [{"n_test_tulane": 9}, {"scanner_tier": "extreme"}, {"size": "huge"},
                                    {"share_women": 1.5},
                                    {"second_visits_rochester": 3}])
def test_impossible_cohorts_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SPEC, **change)
