from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.loading.augmenters import seeded_augmenter
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


class Images:
    """Images of noise, of which patches differ by where they are taken."""

    identifiers = tuple(case for site in CASES for case in site)

    def load_case(self, case):
        image = np.random.default_rng(int(case[1])).normal(size=(1, 12, 12, 12)).astype(np.float32)
        return image, np.zeros(image.shape, dtype=np.int16), None, {"class_locations": {1: np.array([[0, 6, 6, 6]])}}


class NamingItsWorker(SiteBalancedLoader):
    made = 0

    def generate_train_batch(self):
        batch = super().generate_train_batch()
        self.made += 1
        # As an array it does not go with the worker that made it.
        return {"keys": batch["keys"], "data": batch["data"].numpy(), "made": (self.thread_id, self.made)}


def batches_of_workers(seed: int) -> dict[tuple[int, int], dict]:
    """Three batches or more of each of two worker processes, by worker and the number among its own."""
    labels = SimpleNamespace(all_labels=[0, 1], has_ignore_label=False)
    balanced = NamingItsWorker(Images(), 3, (8, 8, 8), (8, 8, 8), labels, cases_by_site=CASES,
                               oversample_foreground_percent=0.33, probabilistic_oversampling=True)
    augmenter = seeded_augmenter(balanced, stream=(seed, 0, 0, 0), pin_memory=False)
    found = {}
    try:
        while min(sum(worker == number for worker, _ in found) for number in (0, 1)) < 3:
            batch = next(augmenter)
            found[batch["made"]] = batch
    finally:
        augmenter._finish()
    return found


def test_with_worker_processes_every_batch_holds_every_site_and_the_seed_decides_over_all(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    first, again, other = (batches_of_workers(seed) for seed in (1, 1, 2))
    for batch in (*first.values(), *again.values(), *other.values()):
        assert [case[0] for case in batch["keys"]] == ["a", "b", "c"]
    # Which worker is the quicker one is left to chance; what each makes is not.
    both = set(first) & set(again)
    assert {(0, 2), (0, 3), (1, 2), (1, 3)} <= both
    for made in both:
        assert first[made]["keys"] == again[made]["keys"]
        assert np.array_equal(first[made]["data"], again[made]["data"])
    assert not np.array_equal(first[0, 2]["data"], first[1, 2]["data"])
    assert not np.array_equal(first[0, 2]["data"], other[0, 2]["data"])
