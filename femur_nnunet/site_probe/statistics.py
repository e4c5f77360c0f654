"""A linear site probe with participants held out, and a permutation test of MMD over participants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from femur_nnunet.errors import FemurError

FEWEST_PARTICIPANTS = 3
_MOST_FOLDS = 5
_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class ProbeFeatures:
    """Features of scans.

    Attributes
    ----------
    values : ndarray
        Shape (scans, features).
    sites, participants : ndarray of str
        Shape (scans,).
    """

    values: NDArray[np.floating]
    sites: NDArray[np.str_]
    participants: NDArray[np.str_]


@dataclass(frozen=True)
class SiteProbe:
    """Result of the linear probe.

    Attributes
    ----------
    accuracy : float
        Mean over sites of the mean over participants of the share of their scans that were told right, so that
        no site counts more for having more scans.
    ci95_low, ci95_high : float
        Wilson's interval, participants as the unit.
    chance : float
        1 / number of sites.
    folds : int
        Folds of the cross-validation.
    """

    accuracy: float
    ci95_low: float
    ci95_high: float
    chance: float
    folds: int


@dataclass(frozen=True)
class MMDTest:
    """Unbiased MMD^2 between sites, and the share of permutations that reach it.

    Attributes
    ----------
    mmd2, p_value : float
        The smallest p that N permutations can give is 1 / (N + 1); with few participants ties raise it further.
    permutations : int
        Number of permutations.
    scans_each : int
        Scans that went into each participant's mean.
    """

    mmd2: float
    p_value: float
    permutations: int
    scans_each: int


def participants_by_site(features: ProbeFeatures) -> dict[str, list[str]]:
    """Return the participants of each site.

    Raises
    ------
    FemurError
        Less than two sites, or a site with less than three participants.
    """
    found = {str(site): sorted({str(person) for person in features.participants[features.sites == site]})
             for site in np.unique(features.sites)}
    if len(found) < 2:
        raise FemurError(f"scans of {', '.join(found) or 'no site'} alone", expected="scans of at least two sites",
                         action="choose other scans with --scans, or convert the other site too")
    for site, people in found.items():
        if len(people) < FEWEST_PARTICIPANTS:
            raise FemurError(f"{len(people)} participant(s) of {site}",
                             expected=f"at least {FEWEST_PARTICIPANTS} of each site: whole participants are held out",
                             action="choose other scans with --scans, or convert more participants")
    return found


def probe_sites(features: ProbeFeatures, *, seed: int) -> SiteProbe:
    """Tell the site from standardised features by logistic regression, whole participants held out.

    Standardisation is learnt in the training part of each fold; sites weigh the same in the fit.

    Raises
    ------
    FemurError
        See :func:`participants_by_site`.
    """
    people = participants_by_site(features)
    folds = min(_MOST_FOLDS, *(len(names) for names in people.values()))
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    right = np.zeros(len(features.sites), dtype=float)
    for train, test in splitter.split(features.values, features.sites, features.participants):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
        model.fit(features.values[train], features.sites[train])
        right[test] = model.predict(features.values[test]) == features.sites[test]
    by_site = [[float(right[features.participants == person].mean()) for person in names]
               for names in people.values()]
    accuracy = float(np.mean([np.mean(shares) for shares in by_site]))
    low, high = wilson_interval(accuracy, effective_participants([len(shares) for shares in by_site]))
    return SiteProbe(accuracy, low, high, 1.0 / len(people), folds)


def effective_participants(counts: Sequence[int]) -> float:
    """Return n such that p (1 - p) / n is the variance of a mean over sites of shares over ``counts`` participants."""
    return len(counts) ** 2 / sum(1.0 / count for count in counts)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) of a share of ``n``; unlike a bootstrap it has a width at 0 and 1."""
    z2 = _NORMAL_975**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL_975 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def participant_means(features: ProbeFeatures, generator: np.random.Generator) -> tuple[ProbeFeatures, int]:
    """Return the mean features of each participant at a site, standardised over all participants, and k.

    Each mean is of k scans drawn without replacement, k being the smallest number of scans that a participant has:
    means over different numbers of scans differ in variance, and sites would differ by their numbers of scans alone.
    """
    pairs = sorted({(str(site), str(person)) for site, person in
                    zip(features.sites, features.participants, strict=True)})
    rows = [np.flatnonzero((features.sites == site) & (features.participants == person)) for site, person in pairs]
    scans_each = min(map(len, rows))
    drawn = [np.sort(generator.choice(own, scans_each, replace=False)) for own in rows]
    values = np.stack([features.values[own].mean(0) for own in drawn]).astype(float)
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    return ProbeFeatures(values, np.asarray([site for site, _ in pairs]),
                         np.asarray([name for _, name in pairs])), scans_each


def permutation_test(features: ProbeFeatures, *, permutations: int, seed: int) -> MMDTest:
    """Test whether participants of different sites have the same distribution of features.

    The unit is the participant (the mean over visits and hips, of the same number of scans for everybody): scans of one
    person are no independent draws. ``seed`` draws the scans and the permutations. Kernels are the five Gaussians of
    the adaptation term, their width the mean squared distance of all participants, which no permutation changes. With
    more than two sites: the mean over sites of one against the pooled rest.

    Raises
    ------
    FemurError
        See :func:`participants_by_site`.
    """
    participants_by_site(features)
    generator = np.random.default_rng(seed)
    people, scans_each = participant_means(features, generator)
    kernel = _gaussian_kernels(people.values)
    observed = mmd2_of_sites(kernel, people.sites)
    reached = sum(mmd2_of_sites(kernel, generator.permutation(people.sites)) >= observed - 1e-12
                  for _ in range(permutations))
    return MMDTest(observed, (1 + reached) / (1 + permutations), permutations, scans_each)


def _gaussian_kernels(values: NDArray[np.floating]) -> NDArray[np.float64]:
    squares = (values**2).sum(1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * values @ values.T, 0.0)
    count = len(values)
    width = distances.sum() / (count * (count - 1)) or 1.0
    return np.asarray(sum(np.exp(-distances / (multiple * width)) for multiple in _BANDWIDTHS), dtype=float)


def mmd2_of_sites(kernel: NDArray[np.float64], sites: NDArray[np.str_]) -> float:
    """Return the unbiased MMD^2 (Gretton et al. 2012, equation 3) from a kernel matrix over all rows.

    The kernel has the shape (n, n), the sites have the shape (n,).
    """
    names = np.unique(sites)
    terms = []
    for name in names[:1] if len(names) == 2 else names:
        own = sites == name
        n, m = int(own.sum()), int((~own).sum())
        within, rest = kernel[np.ix_(own, own)], kernel[np.ix_(~own, ~own)]
        terms.append((within.sum() - np.trace(within)) / (n * (n - 1)) + (rest.sum() - np.trace(rest)) / (m * (m - 1))
                     - 2.0 * kernel[np.ix_(own, ~own)].mean())
    return float(np.mean(terms))
