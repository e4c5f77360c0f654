from __future__ import annotations

from types import SimpleNamespace

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.loading.site_balanced_loader import SiteBalancedLoader, cases_by_site

CASES = [["a1", "a2"], ["b1"], ["c1", "c2", "c3"]]


def loader(batch_size: int, *, cases=CASES, first_slot: int = 0) -> SiteBalancedLoader:
    data = SimpleNamespace(identifiers=[case for site in cases for case in site])
    labels = SimpleNamespace(all_labels=[0, 1], has_ignore_label=False)
    return SiteBalancedLoader(data, batch_size, (8, 8, 8), (8, 8, 8), labels, cases_by_site=cases,
                              first_slot=first_slot)


def test_every_batch_holds_every_site_in_the_same_slots():
    balanced = loader(6)
    for _ in range(20):
        assert [case[0] for case in balanced.get_indices()] == ["a", "b", "c", "a", "b", "c"]


def test_slots_go_on_over_the_ranks():
    ranks = [loader(2, first_slot=2 * rank) for rank in range(3)]
    assert [case[0] for rank in ranks for case in rank.get_indices()] == ["a", "b", "c", "a", "b", "c"]


def test_all_cases_of_a_site_are_drawn():
    balanced = loader(3)
    assert {balanced.get_indices()[2] for _ in range(100)} == {"c1", "c2", "c3"}


def test_a_site_without_cases_is_refused():
    with pytest.raises(UsageError, match="a site without training cases"):
        loader(2, cases=[["a1"], []])


def test_each_labelled_site_fills_its_slots_with_labelled_cases_alone():
    site_of = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
    assert cases_by_site(["a1", "b1"], ["a2", "c1"], ["a", "b", "c"], site_of) == [["a1"], ["b1"], ["c1"]]
