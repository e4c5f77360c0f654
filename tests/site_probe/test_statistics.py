from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from femur_nnunet.adaptation.mmd import unbiased_mmd2
from femur_nnunet.errors import FemurError
from femur_nnunet.site_probe.statistics import (
    ProbeFeatures,
    effective_participants,
    participant_means,
    permutation_test,
    probe_sites,
    wilson_interval,
)


def cohort(seed: int, *, shift: float, people: int = 10, scans: int = 2, width: int = 6, scan_sd: float = 0.3,
           sites: tuple[str, ...] = ("rochester", "tulane")) -> ProbeFeatures:
    """Scans of a person share a random part; ``shift`` moves one feature of each site but the first."""
    generator = np.random.default_rng(seed)
    values, names, persons = [], [], []
    for index, site in enumerate(sites):
        for person in range(people):
            own = generator.normal(size=width)
            for _ in range(scans):
                row = own + scan_sd * generator.normal(size=width)
                if index:
                    row[index - 1] += shift
                values.append(row)
                names.append(site)
                persons.append(f"{site}{person}")
    return ProbeFeatures(np.asarray(values), np.asarray(names), np.asarray(persons))


def test_separable_sites_are_told_apart_and_the_test_says_so():
    features = cohort(1, shift=30.0)
    probe = probe_sites(features, seed=1)
    assert probe.accuracy == 1.0
    assert (probe.chance, probe.folds, probe.ci95_high) == (0.5, 5, 1.0)
    # Wilson at 20 of 20.
    assert probe.ci95_low == pytest.approx(20 / (20 + 1.96**2), abs=1e-3)
    result = permutation_test(features, permutations=199, seed=1)
    assert result.p_value == pytest.approx(1 / 200)
    assert result.mmd2 > 0.5


def test_equal_sites_are_told_at_chance_on_average():
    accuracies = [probe_sites(cohort(seed, shift=0.0, people=8), seed=seed).accuracy for seed in range(30)]
    # Standard error about 0.03 for the mean of 30 cohorts of 16 people.
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.1)


def test_p_values_of_equal_sites_are_uniform_and_the_estimate_is_zero_on_average():
    results = [permutation_test(cohort(seed, shift=0.0), permutations=99, seed=seed) for seed in range(150)]
    assert stats.kstest([result.p_value for result in results], "uniform").pvalue > 0.01
    values = np.asarray([result.mmd2 for result in results])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_scans_of_one_person_do_not_count_as_people():
    # Ten scans of each of four people a site: a scan-wise permutation would find the people, not the site.
    p_values = [permutation_test(cohort(seed, shift=0.0, people=4, scans=10), permutations=99, seed=seed).p_value
                for seed in range(60)]
    assert np.mean(np.asarray(p_values) <= 0.05) < 0.17


def one_scan_against_two(seed: int) -> ProbeFeatures:
    """Equal sites, but the people of the first have one scan each and those of the second two."""
    features = cohort(seed, shift=0.0, people=20, width=128, scan_sd=1.0)
    keep = (features.sites == "tulane") | (np.arange(len(features.sites)) % 2 == 0)
    return ProbeFeatures(features.values[keep], features.sites[keep], features.participants[keep])


def test_one_scan_a_person_against_two_is_no_difference_of_sites():
    # A mean of two scans varies less than one scan; in 128 dimensions that alone tells the sites apart.
    results = [permutation_test(one_scan_against_two(seed), permutations=99, seed=seed) for seed in range(60)]
    assert {result.scans_each for result in results} == {1}
    # 10 of 60 at a true rate of 0.05 has a probability below 0.001.
    assert sum(result.p_value <= 0.05 for result in results) < 10


def test_means_are_of_as_many_scans_as_the_person_with_fewest_has_and_the_seed_draws_them():
    # Three, two and two scans with powers of two for values: every mean tells which scans it is of.
    features = ProbeFeatures(2.0 ** np.arange(7)[:, None], np.asarray(list("aaaaabb")), np.asarray(list("xxxyyzz")))
    drawn = set()
    for seed in range(30):
        means, scans_each = participant_means(features, np.random.default_rng(seed))
        assert (scans_each, "".join(means.sites), "".join(means.participants)) == (2, "aab", "xyz")
        x, y, z = means.values[:, 0]
        # Standardising keeps ratios of differences: (z - x) / (z - y) (the means of y and z are 12 and 48).
        drawn.add(round(float((z - x) / (z - y)), 9))
    pairs = ((1 + 2) / 2, (1 + 4) / 2, (2 + 4) / 2)
    assert drawn == {round((48 - pair) / (48 - 12), 9) for pair in pairs}


def test_no_person_stands_on_both_sides_of_a_fold():
    # Features are a random code of the person: known people would give accuracy 1, held-out ones chance.
    generator = np.random.default_rng(0)
    persons = np.repeat([f"p{number}" for number in range(24)], 6)
    sites = np.repeat(["a", "b"], 72)
    codes = {person: generator.normal(size=40) for person in np.unique(persons)}
    values = np.stack([codes[person] for person in persons])
    assert probe_sites(ProbeFeatures(values, sites, persons), seed=0).accuracy < 0.8


def test_the_estimate_is_that_of_the_adaptation_term():
    features = cohort(3, shift=1.0)
    people, _ = participant_means(features, np.random.default_rng(0))
    first, second = (torch.from_numpy(people.values[people.sites == site]) for site in ("rochester", "tulane"))
    expected = float(unbiased_mmd2(first, second, (0.25, 0.5, 1.0, 2.0, 4.0)))
    assert permutation_test(features, permutations=1, seed=0).mmd2 == pytest.approx(expected, rel=1e-9)


def test_three_sites_have_a_chance_of_one_third():
    features = cohort(4, shift=30.0, sites=("a", "b", "c"))
    probe = probe_sites(features, seed=1)
    assert (probe.accuracy, probe.chance) == (1.0, pytest.approx(1 / 3))
    assert permutation_test(features, permutations=99, seed=1).p_value == pytest.approx(0.01)


def test_a_site_with_more_scans_does_not_raise_the_accuracy():
    rich, poor = cohort(5, shift=0.0, people=20), cohort(6, shift=0.0, people=4)
    keep = poor.sites == "tulane"
    features = ProbeFeatures(
        np.concatenate([rich.values[rich.sites == "rochester"], poor.values[keep]]),
        np.concatenate([rich.sites[rich.sites == "rochester"], poor.sites[keep]]),
        np.concatenate([rich.participants[rich.sites == "rochester"], poor.participants[keep]]))
    # Always saying "rochester" is right for 20 of 24 people; it is chance here.
    assert probe_sites(features, seed=1).accuracy < 0.83


def test_the_same_seed_gives_the_same_result():
    features = cohort(7, shift=0.5)
    assert permutation_test(features, permutations=50, seed=3) == permutation_test(features, permutations=50, seed=3)
    assert probe_sites(features, seed=3) == probe_sites(features, seed=3)


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 10), (10, 10), (17, 20)])
def test_wilsons_interval_is_that_of_statsmodels(right, n):
    assert wilson_interval(right / n, n) == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-9)


def test_participants_weigh_by_their_site():
    assert effective_participants([10, 10]) == pytest.approx(20)
    # Variance of the mean of two means: (1/4 + 1/12) / 4 = 1/12.
    assert effective_participants([4, 12]) == pytest.approx(12)


@pytest.mark.parametrize(("features", "message"), [
    (cohort(1, shift=0.0, sites=("tulane",)), "scans of tulane alone"),
    (cohort(1, shift=0.0, people=2), r"2 participant\(s\) of rochester"),
    (ProbeFeatures(np.zeros((0, 1)), np.asarray([], dtype=str), np.asarray([], dtype=str)), "no site alone"),
])
def test_too_small_a_cohort_is_refused(features, message):
    for run in (lambda: probe_sites(features, seed=1), lambda: permutation_test(features, permutations=5, seed=1)):
        with pytest.raises(FemurError, match=message):
            run()
